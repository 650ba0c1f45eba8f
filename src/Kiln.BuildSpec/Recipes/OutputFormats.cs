namespace Kiln.BuildSpec.Recipes;

/// <summary>What an image can be delivered as (build-extension, section 18), and what of it can be chosen.</summary>
public static class OutputFormats
{
    /// <summary>The image itself, as it is built. It is always there: all others are made of it.</summary>
    public const string Oci = BuildOutput.Oci;

    /// <summary>One file that Apptainer and Singularity run.</summary>
    public const string Sif = "sif";

    /// <summary>A file system in one file.</summary>
    public const string Squashfs = "squashfs";

    /// <summary>An OCI image of one layer.</summary>
    public const string SingleLayer = "single-layer";

    /// <summary>
    /// Of a task, and not of a request: the image with all owners and set-id bits flattened, which then stands in the
    /// image's place (<see cref="JobRequest.Flatten"/>).
    /// </summary>
    public const string SingleId = "single-id";

    public const string Gzip = "gzip";
    public const string Zstd = "zstd";
    public const string Lz4 = "lz4";

    private static readonly string[] OfLayers = [Gzip, Zstd];

    // The first one is the default: zstd packs a file system as well as gzip and takes a tenth of the time.
    private static readonly string[] OfFileSystems = [Zstd, Gzip, Lz4];

    /// <summary>What an output of this format may be compressed with, its default first; empty for what is no format.</summary>
    public static IReadOnlyList<string> Compressions(string format) =>
        format switch
        {
            Oci or SingleLayer or SingleId => OfLayers,
            Sif or Squashfs => OfFileSystems,
            _ => [],
        };

    /// <summary>What an output is compressed with.</summary>
    public static string CompressionOf(string format, string? asked) => asked ?? Compressions(format)[0];

    /// <summary>The program that a node needs to make this format; null where it needs none.</summary>
    public static string? Tool(string format) =>
        format is Sif or Squashfs ? "mksquashfs of squashfs-tools 4.5 or later" : null;

    /// <summary>Whether it is made of a finished image, as an execution of its own.</summary>
    public static bool IsDerived(string format) => format != Oci;

    /// <summary>The short form of an output, <c>FORMAT[:COMPRESSION]</c>, as annotations, queries and command lines have it.</summary>
    public static BuildOutput Parse(string text)
    {
        var colon = text.IndexOf(':', StringComparison.Ordinal);
        return colon < 0
            ? new BuildOutput { Format = text }
            : new BuildOutput { Format = text[..colon], Compression = text[(colon + 1)..] };
    }
}
