using Kiln.Inspect.Elf;

namespace Kiln.Inspect;

/// <summary>What a library is for, as far as hints care.</summary>
public enum LibraryKind
{
    Mpi,
    Gpu,
    Communication,
}

/// <summary>A library that hints tell of.</summary>
/// <param name="Family">As annotations call it: <c>openmpi</c>, <c>cuda</c>, <c>ucx</c>.</param>
/// <param name="Implementation">Which MPI it is, where the name tells; null where several have the same.</param>
/// <param name="IsLoader">
/// It is there in images that never use it: a loader, which other packages bring along. That it is needed says more.
/// </param>
public sealed record KnownLibrary(
    LibraryKind Kind,
    string Family,
    string? Implementation = null,
    bool IsLoader = false
);

/// <summary>
/// MPI, GPU and communication libraries by the names under which programs need them. A name is all that is looked at:
/// libraries that are linked statically or opened by a program's own code are not seen.
/// </summary>
public static class LibraryNames
{
    private const string OpenMpi = "openmpi";
    private const string Mpich = "mpich";

    private static readonly (string Name, KnownLibrary Library)[] Table =
    [
        // The ABI of MPICH, which Intel MPI, MVAPICH, ParaStation and Cray's have as well: libmpi.so.12.
        ("libmpi.so.12", new(LibraryKind.Mpi, Mpich)),
        ("libmpich.so.", new(LibraryKind.Mpi, Mpich, Mpich)),
        ("libmpi_cray.so.", new(LibraryKind.Mpi, Mpich, "cray")),
        ("libmpi_gnu_", new(LibraryKind.Mpi, Mpich, "cray")),
        // MPI 5.0, chapter "Application Binary Interface".
        ("libmpi_abi.so.", new(LibraryKind.Mpi, "mpi-abi")),
        ("libmpi.so.", new(LibraryKind.Mpi, OpenMpi, OpenMpi)),
        ("libcuda.so.", new(LibraryKind.Gpu, "cuda", IsLoader: true)),
        ("libcudart.so.", new(LibraryKind.Gpu, "cuda")),
        ("libcublas.so.", new(LibraryKind.Gpu, "cuda")),
        ("libcudnn.so.", new(LibraryKind.Gpu, "cuda")),
        ("libcufft.so.", new(LibraryKind.Gpu, "cuda")),
        ("libnccl.so.", new(LibraryKind.Gpu, "cuda")),
        ("libnvrtc.so.", new(LibraryKind.Gpu, "cuda")),
        ("libamdhip64.so.", new(LibraryKind.Gpu, "rocm")),
        ("libhsa-runtime64.so.", new(LibraryKind.Gpu, "rocm")),
        ("librocblas.so.", new(LibraryKind.Gpu, "rocm")),
        ("librccl.so.", new(LibraryKind.Gpu, "rocm")),
        ("librocm_smi64.so.", new(LibraryKind.Gpu, "rocm", IsLoader: true)),
        ("libOpenCL.so.", new(LibraryKind.Gpu, "opencl", IsLoader: true)),
        ("libze_loader.so.", new(LibraryKind.Gpu, "level-zero", IsLoader: true)),
        ("libfabric.so.", new(LibraryKind.Communication, "libfabric")),
        ("libucp.so.", new(LibraryKind.Communication, "ucx")),
    ];

    // hwloc, which every MPI brings along, looks for devices with whatever there is.
    private static readonly string[] Lookers = ["hwloc_"];

    /// <summary>What is known of a library; null where nothing is.</summary>
    /// <param name="name">Under which it is needed: <c>libmpi.so.40</c>.</param>
    public static KnownLibrary? Of(string name)
    {
        foreach (var (prefix, library) in Table)
        {
            if (
                prefix.EndsWith('.') || prefix.EndsWith('_')
                    ? name.StartsWith(prefix, StringComparison.Ordinal)
                    : name == prefix
            )
            {
                return library;
            }
        }

        return null;
    }

    /// <summary>As <see cref="Of(string)"/>, of a library that is there: what it needs tells more than its name.</summary>
    public static KnownLibrary? Of(ElfFacts library) =>
        library.Soname is not { } name || Of(name) is not { } known ? null
        // Open MPI 1.10 had the number that MPICH's ABI has.
        : known.Family == Mpich && library.Needed?.Any(n => n.StartsWith("libopen-", StringComparison.Ordinal)) is true
            ? new KnownLibrary(LibraryKind.Mpi, OpenMpi, OpenMpi)
        : known;

    /// <summary>Whether what a file needs says something of the image: some only look whether a library is there.</summary>
    public static bool Counts(string path) =>
        !Array.Exists(Lookers, l => path.AsSpan(path.LastIndexOf('/') + 1).StartsWith(l, StringComparison.Ordinal));
}
