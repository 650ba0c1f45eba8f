using Kiln.BuildSpec.Recipes;
using Kiln.Node.Sandbox;

namespace Kiln.Node.Deriving;

/// <summary>Tries mksquashfs as it is found here: those before 4.5 read no tar, and a distribution chooses what compresses.</summary>
internal static class SquashfsProbe
{
    // For a file system without files.
    private static readonly BuildLimits Limits = new(256 << 20, 64 << 20, 100, 0);

    /// <summary>Null where squashfs files can be made with all compressions that can be asked for, else why not.</summary>
    /// <param name="directory">Where it is tried; is made, and what is in it goes again.</param>
    /// <param name="program">mksquashfs; null where there is none.</param>
    /// <param name="cancel">Ends it.</param>
    public static async Task<string?> UnavailableAsync(string directory, string? program, CancellationToken cancel)
    {
        if (program is null)
        {
            return $"there is no {OutputFormats.Tool(OutputFormats.Squashfs)}";
        }

        // Of one name: what a node that was killed has left goes with the next trial.
        var home = Path.Combine(directory, "squashfs-trial");
        Remove(home);
        Directory.CreateDirectory(home);
        try
        {
            foreach (var compression in OutputFormats.Compressions(OutputFormats.Squashfs))
            {
                if (await FaultAsync(Path.Combine(home, compression), program, compression, cancel) is { } fault)
                {
                    return $"it takes {OutputFormats.Tool(OutputFormats.Squashfs)}, and what is here makes no file of a tar with {compression}: {fault}";
                }
            }

            return null;
        }
        finally
        {
            Remove(home);
        }
    }

    private static void Remove(string home)
    {
        if (Directory.Exists(home))
        {
            Directory.Delete(home, recursive: true);
        }
    }

    private static async Task<string?> FaultAsync(
        string file,
        string program,
        string compression,
        CancellationToken cancel
    )
    {
        try
        {
            await new Squashfs(compression, 0, Limits) { Program = program }.MakeAsync(
                file,
                // The end of a tar, and nothing before it.
                (tar, stop) => tar.WriteAsync(new byte[1024], stop).AsTask(),
                cancel
            );
            return File.Exists(file) ? null : $"{Squashfs.Name} made nothing";
        }
        catch (Exception e)
            when (e is IOException or DerivationException or SandboxException && !cancel.IsCancellationRequested)
        {
            return e.Message.Split('\n')[0];
        }
    }
}
