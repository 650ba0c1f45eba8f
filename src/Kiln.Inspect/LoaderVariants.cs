namespace Kiln.Inspect;

/// <summary>Directories from which the loader takes a library only where the processor has what it needs.</summary>
public static class LoaderVariants
{
    private const string Directory = "glibc-hwcaps/";

    // Until glibc 2.37, ld.so(8), "Hardware capabilities".
    private static readonly string[] Old = ["/haswell/", "/xeon_phi/", "/avx512_1/"];

    /// <summary>For which processor a file is a variant, as its directory is called; null for an ordinary file.</summary>
    public static string? Of(string path)
    {
        var at = path.IndexOf(Directory, StringComparison.Ordinal);
        if (at >= 0 && (at == 0 || path[at - 1] == '/'))
        {
            var rest = path[(at + Directory.Length)..];
            var slash = rest.IndexOf('/', StringComparison.Ordinal);
            return slash > 0 ? rest[..Math.Min(slash, 64)] : null;
        }

        return Array
            .Find(
                Old,
                d => path.Contains(d, StringComparison.Ordinal) && path.Contains("lib", StringComparison.Ordinal)
            )
            ?.Trim('/');
    }
}
