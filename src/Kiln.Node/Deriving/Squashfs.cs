using System.Diagnostics;
using System.Globalization;
using Kiln.Node.Sandbox;

namespace Kiln.Node.Deriving;

/// <summary>
/// Makes a squashfs file of a tar that is written to mksquashfs, an ordinary process of the node's account: it sees names and
/// bytes of an image and runs nothing of it.
/// </summary>
internal sealed class Squashfs(string compression, long time, BuildLimits limits)
{
    public const string Program = "mksquashfs";

    private const int MaxSaid = 4000;

    // ulimit(1) counts blocks of 512 bytes.
    private const string Script = "ulimit -f \"$1\" && shift && exec \"$@\"";

    // A file that grew past its limit: 128 and SIGXFSZ; by itself mksquashfs says that writing failed.
    private const int FileTooLarge = 153;

    /// <summary>Whether this machine has the program.</summary>
    public static bool IsThere => Programs.Find(Program) is not null;

    /// <param name="file">Where it is made; must not be there.</param>
    /// <param name="write">Writes the tar.</param>
    /// <exception cref="DerivationException">mksquashfs failed.</exception>
    public async Task MakeAsync(string file, Func<Stream, CancellationToken, Task> write, CancellationToken cancel)
    {
        var blocks = (limits.DiskBytes / 512).ToString(CultureInfo.InvariantCulture);
        using var process = new Process
        {
            StartInfo = Programs.Start("sh", ["-c", Script, "sh", blocks, Programs.Find(Program)!, .. Arguments(file)]),
        };
        process.Start();
        try
        {
            var output = process.StandardOutput.ReadToEndAsync(cancel);
            var errors = process.StandardError.ReadToEndAsync(cancel);
            var broken = await WriteAsync(process.StandardInput.BaseStream, write, cancel);
            await process.WaitForExitAsync(cancel);
            var said = (await output + await errors).Trim();
            if (process.ExitCode == FileTooLarge)
            {
                throw new DerivationException(
                    $"the file would be larger than the {limits.DiskBytes} bytes that one build may use on this node"
                )
                {
                    IsLimit = true,
                };
            }

            if (process.ExitCode != 0 || broken)
            {
                throw new DerivationException(
                    $"{Program} failed (exit code {process.ExitCode}): {said[Math.Max(0, said.Length - MaxSaid)..]}"
                );
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

    // A program that ends before it has read all says why itself.
    private static async Task<bool> WriteAsync(
        Stream to,
        Func<Stream, CancellationToken, Task> write,
        CancellationToken cancel
    )
    {
        try
        {
            await using (to)
            {
                await using var buffered = new BufferedStream(to, 1 << 18);
                await write(buffered, cancel);
            }

            return false;
        }
        catch (IOException) when (!cancel.IsCancellationRequested)
        {
            return true;
        }
    }

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
}

/// <summary>An image cannot be made into a format, as a sentence.</summary>
internal sealed class DerivationException(string message) : Exception(message)
{
    /// <summary>Whether it is a limit of the node's that stands in the way.</summary>
    public bool IsLimit { get; init; }
}
