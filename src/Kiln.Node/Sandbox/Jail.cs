using System.Buffers;
using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using Kiln.BuildSpec;

namespace Kiln.Node.Sandbox;

/// <summary>A directory or file of the node that a jail sees; read-only unless <see cref="Inside"/> is <c>/out</c>.</summary>
internal sealed record JailBind(string Host, string Inside);

/// <summary>One run inside a jail.</summary>
/// <param name="Directory">The build's own directory; its <c>build/</c> is <c>/build</c> inside, writable.</param>
/// <param name="Network">One of <see cref="NetworkModes"/>.</param>
/// <param name="Command">The program and its arguments.</param>
internal sealed record JailRun(
    string Directory,
    string Network,
    IReadOnlyList<JailBind> Binds,
    IReadOnlyList<string> Command,
    BuildLimits Limits
)
{
    /// <summary>What runs programs of other families in this jail; see <see cref="Emulator"/>.</summary>
    public IReadOnlyList<Emulator> Emulators { get; init; } = [];

    /// <summary>The root file system whose programs the jail has; the machine's own by default.</summary>
    public string Programs { get; init; } = "/";
}

/// <summary>How a run ended: the command's exit code, and which limit ended it where one did.</summary>
internal sealed record JailExit(int Code, string? Exceeded)
{
    /// <summary>How large a file of it could become.</summary>
    public long FileBytes { get; init; }
}

/// <summary>Hears what a run prints.</summary>
internal delegate void JailOutput(ReadOnlySpan<byte> text);

/// <summary>
/// Runs commands in namespaces of their own: they see their build's directory and the system read-only, and nothing of
/// the node's files, processes and (where they have a network at all) loopback. What they start ends with them.
/// </summary>
internal sealed class Jail : IDisposable
{
    private static readonly TimeSpan LastWords = TimeSpan.FromSeconds(5);
    private readonly string _script;
    private readonly UserNamespace _users;
    private readonly TimeProvider _time;
    private Spare? _spare;
    private readonly ControlGroups? _groups = ControlGroups.Delegated();

    /// <param name="directory">The node's.</param>
    /// <param name="time">The clock.</param>
    /// <param name="singleId">Builds are to have the user's own id only, whatever ranges there are.</param>
    public Jail(string directory, TimeProvider time, bool singleId = false)
    {
        _time = time;
        _users = UserNamespace.Detect(singleId);
        _script = Path.Combine(directory, "jail.sh");
        using var resource = Assembly.GetExecutingAssembly().GetManifestResourceStream("Kiln.Node.Sandbox.jail.sh")!;
        using var file = File.Create(_script);
        resource.CopyTo(file);
    }

    public UserNamespace Users => _users;

    /// <summary>False where the operator allows builds that share processes and network with the node's own account.</summary>
    public bool Apart { get; init; } = true;

    /// <summary>What keeps the limits, for a job's record.</summary>
    public string Limits =>
        _groups is null
            ? "rlimits+watcher"
            : $"cgroup2({string.Join(',', _groups.Controllers.Order(StringComparer.Ordinal))})+rlimits+watcher";

    /// <summary>Runs to the end, or until <paramref name="cancel"/>; then nothing of it is left running.</summary>
    /// <exception cref="SandboxException">The machine did not let the jail be made.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled, and everything in it has ended.</exception>
    public async Task<JailExit> RunAsync(JailRun run, JailOutput output, CancellationToken cancel)
    {
        JailRoot.Make(run, _script, Apart, _users.SingleId);
        await using var cell = await TakeAsync(run, cancel);
        await using var end = cancel.Register(cell.Kill);
        using var over = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        await using var group = _groups?.Enter(cell.Id, run.Limits);
        await cell.GoAsync(run.Directory, cancel);
        var watching = new LimitWatcher(run.Limits, run.Directory, cell.Id, _time).WatchAsync(over.Token);
        var kill = watching.ContinueWith(w => Kill(cell, w), TaskScheduler.Default);
        var pumps = Task.WhenAll(PumpAsync(cell.Output, output), PumpAsync(cell.Errors, output));
        await cell.WaitForExitAsync();
        // What a build without a process namespace left behind may hold the pipes for ever.
        Posix.KillGroup(cell.Id);
        await Task.WhenAny(pumps, Task.Delay(LastWords, _time, CancellationToken.None));
        await over.CancelAsync();
        await kill;
        cancel.ThrowIfCancellationRequested();
        return new JailExit(cell.ExitCode, await watching ?? group?.Exceeded()) { FileBytes = run.Limits.DiskBytes };
    }

    /// <summary>
    /// Makes the namespaces of the next run beforehand, unless they are there. Without a word of the node they do nothing,
    /// and they end with it, since their stdin does.
    /// </summary>
    public void Prepare(string network, BuildLimits limits)
    {
        if (!Apart || _spare is not null)
        {
            return;
        }

        var spare = new Spare(network, limits, SpareAsync(network, limits));
        Discard(Interlocked.CompareExchange(ref _spare, spare, null) is null ? null : spare);
    }

    /// <summary>Ends what waits for a run that will not come.</summary>
    public void Dispose() => Discard(Interlocked.Exchange(ref _spare, null));

    private async Task<Cell> TakeAsync(JailRun run, CancellationToken cancel)
    {
        if (Interlocked.Exchange(ref _spare, null) is { } spare)
        {
            if (
                spare.Network == run.Network
                && spare.Limits == run.Limits
                && await spare.Cell.WaitAsync(cancel) is { Usable: true } cell
            )
            {
                return cell;
            }

            Discard(spare);
        }

        return await MakeAsync(run.Network, run.Limits, cancel);
    }

    // Null where it could not be made: the run that needs it tries again and says why.
    private async Task<Cell?> SpareAsync(string network, BuildLimits limits)
    {
        try
        {
            return await MakeAsync(network, limits, CancellationToken.None);
        }
        catch (Exception e) when (e is SandboxException or IOException or Win32Exception)
        {
            return null;
        }
    }

    private Task<Cell> MakeAsync(string network, BuildLimits limits, CancellationToken cancel) =>
        Cell.MakeAsync(
            Programs.Start("setsid", Arguments(network, limits)),
            _users,
            network == NetworkModes.Isolated,
            cancel
        );

    private static void Discard(Spare? spare) =>
        _ = spare?.Cell.ContinueWith(
            async made => await ((await made)?.DisposeAsync() ?? ValueTask.CompletedTask),
            TaskScheduler.Default
        );

    /// <summary>Removes a directory whose files may belong to subordinate ids, or be closed to their own user.</summary>
    public async Task RemoveAsync(string directory, CancellationToken cancel)
    {
        if (!Directory.Exists(directory) || TryDelete(directory))
        {
            return;
        }

        var users = _users.Whole;
        string[] arguments =
        [
            "unshare",
            "--user",
            .. users.UnshareOptions,
            "--",
            "sh",
            "-c",
            "echo kiln-ready; read -r go; exec rm -rf -- \"$1\"",
            "sh",
            directory,
        ];
        using var process = new Process { StartInfo = Programs.Start("setsid", arguments) };
        process.Start();
        await Cell.ReadyAsync(process, cancel);
        await users.MapAsync(process.Id, cancel);
        await process.StandardInput.WriteAsync("go\n");
        process.StandardInput.Close();
        var errors = await process.StandardError.ReadToEndAsync(cancel);
        await process.WaitForExitAsync(cancel);
        if (process.ExitCode != 0)
        {
            throw new SandboxException($"a build's directory could not be removed: {errors.Trim()}");
        }
    }

    // Without any namespace, where nothing in it belongs to somebody else.
    private static bool TryDelete(string directory)
    {
        try
        {
            Directory.Delete(directory, recursive: true);
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private List<string> Arguments(string network, BuildLimits limits)
    {
        // RLIMIT_NPROC counts all tasks of the user, this node's own included.
        var tasks = ProcessTree.TasksOf(_users.Uid) + limits.Processes + 64;
        List<string> arguments =
        [
            // A build takes what is left: whoever waits for an answer, of the registry beside it or of anybody else on the
            // machine, comes first.
            "nice",
            "-n",
            "10",
            "prlimit",
            $"--nproc={Text(tasks)}",
            $"--fsize={Text(limits.DiskBytes)}",
            "--core=0",
            "unshare",
            "--user",
            .. _users.UnshareOptions,
            "--mount",
            // What is unmounted on the machine must not live on in a jail that waits.
            "--propagation",
            "slave",
            "--fork",
            "--kill-child",
        ];
        if (Apart)
        {
            arguments.AddRange(["--pid", "--ipc", "--uts"]);
            arguments.AddRange(network == NetworkModes.Host ? [] : ["--net"]);
        }

        arguments.AddRange(["--", "sh", _script, network, Apart ? "yes" : "no", .. _users.UnshareOptions]);
        return arguments;
    }

    private static async Task PumpAsync(Stream stream, JailOutput output)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(64 << 10);
        try
        {
            int count;
            while ((count = await stream.ReadAsync(buffer, CancellationToken.None)) > 0)
            {
                lock (output)
                {
                    output(buffer.AsSpan(0, count));
                }
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private static void Kill(Cell cell, Task<string?> watching)
    {
        // A watcher that died watches nothing: then the build has no limits any more.
        if (watching.IsFaulted || (watching.IsCompletedSuccessfully && watching.Result is not null))
        {
            cell.Kill();
        }
    }

    private static string Text(long value) => value.ToString(CultureInfo.InvariantCulture);

    private sealed record Spare(string Network, BuildLimits Limits, Task<Cell?> Cell);
}
