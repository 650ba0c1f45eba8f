using System.Diagnostics;
using System.Text;

namespace Kiln.Node.Sandbox;

/// <summary>
/// The namespaces of one jail, made and waiting for a build: ids mapped, the network attached or about to be, nothing
/// mounted yet. Making them takes longer than a cached step, so a jail keeps one at hand.
/// </summary>
internal sealed class Cell : IAsyncDisposable
{
    private readonly Process _process;
    private Task<Slirp>? _network;

    private Cell(ProcessStartInfo start) => _process = new Process { StartInfo = start };

    public int Id => _process.Id;

    public Stream Output => _process.StandardOutput.BaseStream;

    public Stream Errors => _process.StandardError.BaseStream;

    public int ExitCode => _process.ExitCode;

    /// <summary>False once somebody has ended it behind our back, or its network.</summary>
    public bool Usable =>
        !_process.HasExited && _network is not { IsFaulted: true } && _network is not { IsCanceled: true };

    /// <summary>Starts jail.sh as <paramref name="start"/> says.</summary>
    /// <exception cref="SandboxException">The machine did not let the namespaces be made.</exception>
    public static async Task<Cell> MakeAsync(
        ProcessStartInfo start,
        UserNamespace users,
        bool network,
        CancellationToken cancel
    )
    {
        var cell = new Cell(start);
        if (users.SingleId)
        {
            RootEmulation.Start(cell._process);
        }
        else
        {
            cell._process.Start();
        }

        try
        {
            await ReadyAsync(cell._process, cancel);
            await users.MapAsync(cell.Id, cancel);
            cell._network = network ? Slirp.AttachAsync(cell.Id, cancel) : null;
            return cell;
        }
        catch
        {
            await cell.DisposeAsync();
            throw;
        }
    }

    /// <summary>Gives it its purpose: the directory of the build, where the tables and the command are.</summary>
    public async Task GoAsync(string directory, CancellationToken cancel)
    {
        await SayAsync("go " + directory, cancel);
        // Attached while the jail is made.
        if (_network is not null)
        {
            await _network;
        }

        await SayAsync("net", cancel);
    }

    public Task WaitForExitAsync() => _process.WaitForExitAsync(CancellationToken.None);

    // unshare --kill-child takes the namespace's first process along, and the kernel everything in it. The group is for
    // builds that have no process namespace of their own; setsid made this process its leader.
    public void Kill()
    {
        try
        {
            if (!_process.HasExited)
            {
                Posix.KillGroup(_process.Id);
                _process.Kill();
            }
        }
        catch (InvalidOperationException)
        {
            // It has ended already.
        }
    }

    public async ValueTask DisposeAsync()
    {
        Kill();
        await WaitForExitAsync();
        _process.Dispose();
        if (_network is null)
        {
            return;
        }

        try
        {
            await (await _network).DisposeAsync();
        }
        catch (Exception e) when (e is SandboxException or OperationCanceledException)
        {
            // It never came to be.
        }
    }

    /// <summary>Waits for the first word of jail.sh.</summary>
    // Read byte by byte: what follows the first line is the build's output.
    public static async Task ReadyAsync(Process process, CancellationToken cancel)
    {
        var line = new List<byte>();
        var one = new byte[1];
        while (
            await process.StandardOutput.BaseStream.ReadAsync(one, cancel) == 1 && one[0] != '\n' && line.Count < 4096
        )
        {
            line.Add(one[0]);
        }

        if (Encoding.UTF8.GetString([.. line]) != "kiln-ready")
        {
            var errors = await process.StandardError.ReadToEndAsync(cancel);
            throw new SandboxException($"the build's namespaces could not be made: {errors.Trim()}");
        }
    }

    // A jail that has ended already says why in its output and its exit code.
    private async Task SayAsync(string word, CancellationToken cancel)
    {
        try
        {
            await _process.StandardInput.WriteAsync(word + "\n");
            await _process.StandardInput.FlushAsync(cancel);
        }
        catch (IOException) { }
    }
}
