using Kiln.BuildSpec;
using Kiln.Cli.Context;
using Kiln.Cli.Progress;
using Kiln.Client;
using Kiln.Client.Builds;
using Kiln.Client.Registry;

namespace Kiln.Cli.Verbs;

/// <summary>One run of <c>kiln build</c>.</summary>
internal sealed class BuildRun(BuildSettings settings, Connection connection, Shell shell)
{
    public async Task<int> RunAsync(CancellationToken cancel)
    {
        var repository = settings.Repository();
        using var interrupts = new Interrupts();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        var starting = StartAsync(repository, stop.Token);
        using var startup = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        if (await Task.WhenAny(starting, interrupts.NextAsync(startup.Token).AsTask()) != starting)
        {
            // Nothing is asked here: there is no build yet that could be lost.
            await stop.CancelAsync();
        }

        await startup.CancelAsync();
        var job = await starting;
        var address = new JobAddress(repository, job.Id);
        if (settings.Detach)
        {
            await PrintDetachedAsync(job, address);
            return ExitCodes.Ok;
        }

        return await ReportAsync(await FollowAsync(job, address, interrupts, stop.Token), repository);
    }

    private async Task<Job> FollowAsync(Job job, JobAddress address, Interrupts interrupts, CancellationToken cancel)
    {
        using var view = ProgressModes.View(settings.Progress, settings.Json, shell);
        view.Accepted(job);
        try
        {
            var patient = new PatientBuilds(connection.Builds, shell.Time, Say, answered: true);
            var following = new JobFollower(patient, address, view).FollowAsync(job, cancel);
            var question = new CancelQuestion(shell, view, connection.Builds, address);
            return await question.WatchAsync(following, interrupts, cancel);
        }
        catch (RegistryException e)
        {
            var (code, message) = Failures.Explain(e);
            throw new CommandFailure(code, $"{message}. The build may go on without us: kiln logs -f {address}");
        }

        void Say(string sentence)
        {
            using var paused = view.Pause();
            shell.Error.WriteLine(sentence);
        }
    }

    private async Task<Job> StartAsync(RemoteRepository repository, CancellationToken cancel)
    {
        var info = await connection.Builds.FindInfoAsync(repository.Host, repository.Name, cancel);
        Require(info, repository);
        foreach (var name in (settings.Targets ?? []).Select(target => target.Microarchitecture).OfType<string>())
        {
            MicroarchitectureName.Require(name, info!.Microarchitectures ?? []);
        }

        using var input = await BuildInput.ReadAsync(
            settings.File,
            settings.Context,
            info!.Limits.MaxContextBytes,
            shell,
            cancel
        );
        if (input.Context is { } context)
        {
            var sent = await connection.Registry.PushBlobAsync(repository, context.Descriptor, context.Open, cancel);
            if (!settings.Json)
            {
                await shell.Error.WriteLineAsync(
                    $"context: {context.Files} {(context.Files == 1 ? "file" : "files")}, {Sizes.Text(context.Descriptor.Size)}{(sent ? "" : ", there already")}"
                );
            }
        }

        var secrets = new List<SecretUse>();
        foreach (var secret in settings.Secrets)
        {
            var value = await secret.ReadAsync(shell, cancel);
            var receipt = await connection.Builds.UploadSecretAsync(repository, value, cancel);
            secrets.Add(new SecretUse { Id = secret.Id, Ref = receipt.Ref });
        }

        return await connection.Builds.CreateAsync(repository, settings.Request(input, secrets), cancel);
    }

    private static void Require(BuildInfo? info, RemoteRepository repository)
    {
        if (info is null)
        {
            throw CommandFailure.NotPossible(
                $"{repository.Host} is no registry that builds: it does not have the _build extension. "
                    + "Name one that does, for example one run by 'kiln serve'"
            );
        }

        if (info.Platforms.Count == 0)
        {
            throw CommandFailure.NotPossible(
                $"{repository.Host} builds nothing at present: {info.Unavailable ?? "it has no build node"}"
            );
        }
    }

    private async Task PrintDetachedAsync(Job job, JobAddress address)
    {
        if (settings.Json)
        {
            using var json = new JsonView(shell.Out);
            json.Accepted(job);
            return;
        }

        await shell.Out.WriteLineAsync(address.Id);
        await shell.Error.WriteLineAsync($"Follow it with: kiln logs -f {address}");
    }

    private async Task<int> ReportAsync(Job job, RemoteRepository repository)
    {
        if (job.State == BuildStates.Succeeded && job.Result is { } result)
        {
            if (!settings.Json)
            {
                var names = string.Join(", ", result.Tags.Select(t => $"{repository}:{t}"));
                await shell.Error.WriteLineAsync($"Built {(names.Length == 0 ? repository.ToString() : names)}");
                await shell.Out.WriteLineAsync(result.Manifest.Digest.ToString());
            }

            return ExitCodes.Ok;
        }

        var (code, message) = Outcome(job);
        await shell.Error.WriteLineAsync($"kiln: {TerminalText.Escape(message)}");
        return code;
    }

    /// <summary>What an unsuccessful end means: is the recipe at fault, or the service?</summary>
    internal static (int Code, string Message) Outcome(Job job) =>
        job switch
        {
            { State: BuildStates.Canceled } => (ExitCodes.Canceled, $"job {job.Id} was cancelled"),
            { Reason: FailureReasons.RecipeError or FailureReasons.Timeout or FailureReasons.LimitExceeded } => (
                ExitCodes.RecipeFailed,
                $"the build failed ({job.Reason}): {job.Message}"
            ),
            _ => (
                ExitCodes.NotPossible,
                $"the registry could not build it ({job.Reason ?? job.State}): {job.Message ?? "it says no more"}"
            ),
        };
}
