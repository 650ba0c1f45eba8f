using System.Diagnostics;
using System.Globalization;
using Kiln.Node.Sandbox;
using Kiln.Oci;

namespace Kiln.Node.Deriving;

/// <summary>
/// Makes a squashfs file of a tar that is written to mksquashfs, an ordinary process of the node's account: it sees names and
/// bytes of an image and runs nothing of it.
/// </summary>
internal sealed class Squashfs(string compression, long time, BuildLimits limits)
{
    public const string Name = "mksquashfs";

    private const int MaxSaid = 4000;

    // ulimit(1) counts blocks of 512 bytes.
    private const string Script = "ulimit -f \"$1\" && shift && exec \"$@\"";

    // A file that grew past its limit: 128 and SIGXFSZ.
    private const int FileTooLarge = 153;

    /// <summary>The program's path; null where this machine has none.</summary>
    public string? Program { get; init; } = Programs.Find(Name);

    /// <param name="file">Where it is made; must not be there.</param>
    /// <param name="write">Writes the tar.</param>
    /// <exception cref="DerivationException">The file would be too large.</exception>
    /// <exception cref="IOException">mksquashfs failed, for whatever this machine lacks: it takes any tar.</exception>
    public async Task MakeAsync(string file, Func<Stream, CancellationToken, Task> write, CancellationToken cancel)
    {
        var program = Program ?? throw new IOException($"{Name} is no longer installed on the build node");
        var blocks = (limits.DiskBytes / 512).ToString(CultureInfo.InvariantCulture);
        using var process = new Process
        {
            StartInfo = Programs.Start("sh", ["-c", Script, "sh", blocks, program, .. Arguments(file)]),
        };
        process.Start();
        try
        {
            var output = process.StandardOutput.ReadToEndAsync(cancel);
            var errors = process.StandardError.ReadToEndAsync(cancel);
            var disk = new DiskGuard(limits, Path.GetDirectoryName(file)!);
            var broken = await WriteAsync(process.StandardInput.BaseStream, disk, write, cancel);
            await process.WaitForExitAsync(cancel);
            var said = (await output + await errors).Trim();
            if (process.ExitCode == FileTooLarge)
            {
                throw disk.TooLarge();
            }

            if (process.ExitCode != 0 || broken)
            {
                throw new IOException($"{Name} failed (exit code {process.ExitCode}): {Shortened(said)}");
            }
        }
        finally
        {
            if (!process.HasExited)
            {
                process.Kill(entireProcessTree: true);
                await process.WaitForExitAsync(CancellationToken.None);
            }
        }
    }

    // Whether the program ended before it had read all; it says why itself. What fails on this side of the pipe, a layer
    // that cannot be read or a disk that is full, is told as it is.
    private static async Task<bool> WriteAsync(
        Stream to,
        DiskGuard disk,
        Func<Stream, CancellationToken, Task> write,
        CancellationToken cancel
    )
    {
        var pipe = new Pipe(to);
        try
        {
            await using (pipe)
            {
                await using var buffered = new BufferedStream(disk.Watch(pipe), 1 << 18);
                await write(buffered, cancel);
            }

            return false;
        }
        catch (IOException e) when (pipe.Broken is { } broken && broken == e && !cancel.IsCancellationRequested)
        {
            return true;
        }
    }

    // What it does not understand it says first, and then how it is called at length.
    private static string Shortened(string said) =>
        said.Length <= MaxSaid ? said : $"{said[..(MaxSaid / 2)]}\n…\n{said[^(MaxSaid / 2)..]}";

    private List<string> Arguments(string file)
    {
        var megabytes = Math.Clamp(limits.MemoryBytes / 4, 64 << 20, 1 << 30) >> 20;
        List<string> arguments =
        [
            "-",
            file,
            "-tar",
            "-noappend",
            "-no-progress",
            "-quiet",
            "-all-root",
            // The tar's own entry says what the root is; without a time of its own the same image would give other bytes.
            "-mkfs-time",
            time.ToString(CultureInfo.InvariantCulture),
            "-processors",
            Environment.ProcessorCount.ToString(CultureInfo.InvariantCulture),
            "-mem",
            $"{megabytes}M",
            "-comp",
            compression,
        ];
        if (compression == "zstd")
        {
            arguments.AddRange(["-Xcompression-level", "3"]);
        }

        return arguments;
    }

    private sealed class Pipe(Stream to) : SinkStream
    {
        /// <summary>The first thing that writing threw.</summary>
        public IOException? Broken { get; private set; }

        public override void Flush() { }

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            try
            {
                ThrowIfBroken();
                to.Write(buffer);
            }
            catch (IOException e)
            {
                Broken = e;
                throw;
            }
        }

        public override async ValueTask WriteAsync(
            ReadOnlyMemory<byte> buffer,
            CancellationToken cancellationToken = default
        )
        {
            try
            {
                ThrowIfBroken();
                await to.WriteAsync(buffer, cancellationToken);
            }
            catch (IOException e)
            {
                Broken = e;
                throw;
            }
        }

        // What is left in buffers is written once more when they are disposed of.
        private void ThrowIfBroken()
        {
            if (Broken is { } broken)
            {
                throw broken;
            }
        }

        protected override void Dispose(bool disposing)
        {
            if (disposing)
            {
                to.Dispose();
            }

            base.Dispose(disposing);
        }
    }
}
