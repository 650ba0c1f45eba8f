using System.Buffers;
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
);

/// <summary>How a run ended: the command's exit code, and which limit ended it where one did.</summary>
internal sealed record JailExit(int Code, string? Exceeded);

/// <summary>Hears what a run prints.</summary>
internal delegate void JailOutput(ReadOnlySpan<byte> text);

/// <summary>
/// Runs commands in namespaces of their own: they see their build's directory and the system read-only, and nothing of
/// the node's files, processes and (where they have a network at all) loopback. What they start ends with them.
/// </summary>
internal sealed class Jail
{
    private static readonly TimeSpan LastWords = TimeSpan.FromSeconds(5);
    private readonly string _script;
    private readonly UserNamespace _users;
    private readonly TimeProvider _time;
    private readonly ControlGroups? _groups = ControlGroups.Delegated();

    public Jail(string directory, TimeProvider time)
    {
        _time = time;
        _users = UserNamespace.Detect();
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
        JailRoot.Make(run, _script, Apart, terminals: _users.Gids is { Count: >= 5 });
        using var process = new Process { StartInfo = Programs.Start("setsid", Arguments(run)) };
        process.Start();
        await using var end = cancel.Register(() => Kill(process));
        using var over = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        try
        {
            await ReadyAsync(process, cancel);
            await _users.MapAsync(process.Id, cancel);
            await using var group = _groups?.Enter(process.Id, run.Limits);
            await SayAsync(process, "go", cancel);
            // Attached while the jail is made.
            await using var network =
                run.Network == NetworkModes.Isolated ? await Slirp.AttachAsync(process.Id, cancel) : null;
            await SayAsync(process, "net", cancel);

            var watcher = new LimitWatcher(run.Limits, run.Directory, process.Id, _time);
            var watching = watcher.WatchAsync(over.Token);
            var kill = watching.ContinueWith(w => Kill(process, w), TaskScheduler.Default);
            var pumps = Task.WhenAll(
                PumpAsync(process.StandardOutput.BaseStream, output),
                PumpAsync(process.StandardError.BaseStream, output)
            );
            await process.WaitForExitAsync(CancellationToken.None);
            // What a build without a process namespace left behind may hold the pipes for ever.
            Posix.KillGroup(process.Id);
            await Task.WhenAny(pumps, Task.Delay(LastWords, _time, CancellationToken.None));
            await over.CancelAsync();
            await kill;
            cancel.ThrowIfCancellationRequested();
            return new JailExit(process.ExitCode, await watching ?? group?.Exceeded());
        }
        finally
        {
            Kill(process);
            await process.WaitForExitAsync(CancellationToken.None);
        }
    }

    /// <summary>Removes a directory whose files belong to subordinate ids.</summary>
    public async Task RemoveAsync(string directory, CancellationToken cancel)
    {
        if (!Directory.Exists(directory) || TryDelete(directory))
        {
            return;
        }

        string[] arguments =
        [
            "unshare",
            "--user",
            "--",
            "sh",
            "-c",
            "echo kiln-ready; read -r go; exec rm -rf -- \"$1\"",
            "sh",
            directory,
        ];
        using var process = new Process { StartInfo = Programs.Start("setsid", arguments) };
        process.Start();
        await ReadyAsync(process, cancel);
        await _users.MapAsync(process.Id, cancel);
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

    private List<string> Arguments(JailRun run)
    {
        // RLIMIT_NPROC counts all tasks of the user, this node's own included.
        var tasks = ProcessTree.TasksOf(_users.Uid) + run.Limits.Processes + 64;
        List<string> arguments =
        [
            "prlimit",
            $"--nproc={Text(tasks)}",
            $"--fsize={Text(run.Limits.DiskBytes)}",
            "--core=0",
            "unshare",
            "--user",
            "--mount",
            "--fork",
            "--kill-child",
        ];
        if (Apart)
        {
            arguments.AddRange(["--pid", "--ipc", "--uts"]);
            arguments.AddRange(run.Network == NetworkModes.Host ? [] : ["--net"]);
        }

        arguments.AddRange(["--", "sh", _script, run.Directory, run.Network, Apart ? "yes" : "no"]);
        arguments.AddRange(run.Command);
        return arguments;
    }

    // A jail that has ended already says why in its output and its exit code.
    private static async Task SayAsync(Process process, string word, CancellationToken cancel)
    {
        try
        {
            await process.StandardInput.WriteAsync(word + "\n");
            await process.StandardInput.FlushAsync(cancel);
        }
        catch (IOException) { }
    }

    // Read byte by byte: what follows the first line is the build's output.
    private static async Task ReadyAsync(Process process, CancellationToken cancel)
    {
        var line = new List<byte>();
        var one = new byte[1];
        while (
            await process.StandardOutput.BaseStream.ReadAsync(one, cancel) == 1 && one[0] != '\n' && line.Count < 4096
        )
        {
            line.Add(one[0]);
        }

        if (System.Text.Encoding.UTF8.GetString([.. line]) != "kiln-ready")
        {
            var errors = await process.StandardError.ReadToEndAsync(cancel);
            throw new SandboxException($"the build's namespaces could not be made: {errors.Trim()}");
        }
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

    private static void Kill(Process process, Task<string?> watching)
    {
        // A watcher that died watches nothing: then the build has no limits any more.
        if (watching.IsFaulted || (watching.IsCompletedSuccessfully && watching.Result is not null))
        {
            Kill(process);
        }
    }

    // unshare --kill-child takes the namespace's first process along, and the kernel everything in it. The group is for
    // builds that have no process namespace of their own; setsid made this process its leader.
    private static void Kill(Process process)
    {
        try
        {
            if (!process.HasExited)
            {
                Posix.KillGroup(process.Id);
                process.Kill();
            }
        }
        catch (InvalidOperationException)
        {
            // It has ended already.
        }
    }

    private static string Text(long value) => value.ToString(CultureInfo.InvariantCulture);
}
