using Kiln.Client;
using Kiln.Client.Copying;
using Kiln.Client.Registry;
using Kiln.Oci;

namespace Kiln.Cli.Verbs;

/// <summary>
/// One run of <c>kiln mirror</c>. What is at the target is not sent again, so that a run that was broken off is gone on
/// with by the same command. One tag that fails does not keep the others back.
/// </summary>
internal sealed class MirrorRun(MirrorPlan plan, RegistryClient client, Shell shell)
{
    private CopyTally _sum = new(0, 0, 0, 0);
    private Exception? _failed;
    private int _failures;

    /// <returns>The exit code: that of the last failure, or 0.</returns>
    public async Task<int> RunAsync(CancellationToken cancel)
    {
        var repositories = await RepositoriesAsync(cancel);
        foreach (var (from, to) in repositories)
        {
            await TryAsync($"{from}", () => RepositoryAsync(from, to, cancel), cancel);
        }

        await shell.Out.WriteLineAsync(
            plan.DryRun
                ? $"nothing was sent; looked at {repositories.Count} repositories"
                : $"done: {repositories.Count} repositories, {_sum.Manifests} manifests and {_sum.Blobs} blobs sent ({Sizes.Text(_sum.Bytes)}), {_sum.WereThere} were there"
        );
        if (_failed is null)
        {
            return ExitCodes.Ok;
        }

        await shell.Error.WriteLineAsync($"kiln: {_failures} did not succeed; the same command goes on with them");
        return Failures.Explain(_failed).Code;
    }

    private async Task<List<(RemoteRepository From, RemoteRepository To)>> RepositoriesAsync(CancellationToken cancel)
    {
        var (source, target) = (plan.Source, plan.Target);
        if (target.IsPattern || target.Tag is not null)
        {
            throw CommandFailure.Usage("DST is HOST/NAME or, for a pattern, HOST[/PREFIX], without a tag");
        }

        if (!source.IsPattern)
        {
            return source.Path.Length > 0 && target.Path.Length > 0
                ? [(Named(source.Host, source.Path), Named(target.Host, target.Path))]
                : throw CommandFailure.Usage(
                    $"name a repository on both sides, or a pattern: kiln mirror {source.Host}/** {target.Host}"
                );
        }

        if (source.Tag is not null)
        {
            throw CommandFailure.Usage("a pattern of repositories has no tag; use --tag");
        }

        var found = (await client.ListRepositoriesAsync(source.Host, cancel)).Where(source.Means).ToList();
        return found.Count > 0
            ?
            [
                .. found.Select(name =>
                    (
                        new RemoteRepository(source.Host, name),
                        Named(target.Host, target.Path.Length == 0 ? name.Value : $"{target.Path}/{name}")
                    )
                ),
            ]
            : throw CommandFailure.Usage($"{source.Host} lists no repository of the form {source.Path}");
    }

    private static RemoteRepository Named(string host, string name) =>
        RepositoryName.TryParse(name, out var repository)
            ? new RemoteRepository(host, repository)
            : throw CommandFailure.Usage($"'{name}' is not the name of a repository");

    private async Task RepositoryAsync(RemoteRepository from, RemoteRepository to, CancellationToken cancel)
    {
        var tags = plan.Source.Tag is { } only
            ? [only]
            : (await client.ListTagsAsync(from, cancel)).Where(IsMeant).Select(Tag.Parse).ToList();
        var copy = new TreeCopy(
            new RegistrySource(client, from),
            new RegistryTarget(client, to, from.Host == to.Host ? from.Name : null),
            new CopyOptions
            {
                Parallel = plan.Parallel,
                Referrers = plan.Referrers,
                Takes = plan.Platforms.Count == 0 ? null : IsWanted,
            }
        );
        foreach (var tag in tags)
        {
            await TryAsync($"{from}:{tag}", () => TagAsync(copy, from, to, tag, cancel), cancel);
        }

        _sum = new CopyTally(
            _sum.Manifests + copy.Tally.Manifests,
            _sum.Blobs + copy.Tally.Blobs,
            _sum.Bytes + copy.Tally.Bytes,
            _sum.WereThere + copy.Tally.WereThere
        );
        if (plan.Delete && plan.Source.Tag is null)
        {
            await DeleteAsync(to, tags, cancel);
        }
    }

    private async Task TagAsync(
        TreeCopy copy,
        RemoteRepository from,
        RemoteRepository to,
        Tag tag,
        CancellationToken cancel
    )
    {
        var reference = new Reference(from.Host, from.Name, tag, null);
        var root = plan.Platforms is [var platform]
            ? (await client.ResolveAsync(reference, platform, cancel)).Manifest
            : await client.GetManifestAsync(reference, cancel);
        var there = await client.FindManifestAsync(new Reference(to.Host, to.Name, tag, null), cancel);
        if (plan.DryRun)
        {
            await shell.Out.WriteLineAsync(
                $"{from}:{tag} {root.Digest} {(there == root.Digest ? "is there" : $"would go to {to}")}"
            );
            return;
        }

        var before = copy.Tally;
        await copy.CopyAsync(root, [tag], cancel);
        var sent = copy.Tally.Bytes - before.Bytes;
        await shell.Out.WriteLineAsync(
            $"{from}:{tag} {root.Digest} {(sent == 0 && there == root.Digest ? "was there" : $"copied, {Sizes.Text(sent)}")}"
        );
    }

    private async Task DeleteAsync(RemoteRepository to, List<Tag> kept, CancellationToken cancel)
    {
        IReadOnlyList<string> there;
        try
        {
            there = await client.ListTagsAsync(to, cancel);
        }
        catch (RegistryException e) when (e.Fault == RegistryFault.NotFound)
        {
            return;
        }

        foreach (var tag in there.Where(IsMeant).Select(Tag.Parse).Except(kept))
        {
            await TryAsync($"{to}:{tag}", () => DeleteAsync(to, tag, cancel), cancel);
        }
    }

    private async Task DeleteAsync(RemoteRepository to, Tag tag, CancellationToken cancel)
    {
        if (!plan.DryRun)
        {
            await client.DeleteTagAsync(to, tag, cancel);
        }

        await shell.Out.WriteLineAsync($"{to}:{tag} {(plan.DryRun ? "would be deleted" : "deleted")}");
    }

    // Tags that stand for the referrers API come with their subjects.
    private bool IsMeant(string tag) =>
        Tag.TryParse(tag, out _)
        && !tag.StartsWith("sha256-", StringComparison.Ordinal)
        && (plan.Tags.Count == 0 || plan.Tags.Any(glob => Glob.Matches(tag, glob)));

    private bool IsWanted(Descriptor child) =>
        child.Platform is not { } platform
        || plan.Platforms.Any(wanted =>
            wanted.Os == platform.Os
            && wanted.Architecture == platform.Architecture
            && (wanted.Variant is null || wanted.Variant == platform.Variant)
        );

    private async Task TryAsync(string what, Func<Task> work, CancellationToken cancel)
    {
        try
        {
            await work();
        }
        catch (RegistryException e) when (!cancel.IsCancellationRequested)
        {
            _failed = e;
            _failures++;
            await shell.Error.WriteLineAsync(TerminalText.Escape($"kiln: {what}: {e.Message}"));
        }
    }
}
