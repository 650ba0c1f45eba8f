namespace Kiln.BuildSpec.Architectures;

/// <summary>
/// A micro-architecture by the name that archspec gives it: what a compiler may use there, and which others run on it.
/// </summary>
/// <param name="Name">For example <c>zen3</c> or <c>x86_64_v3</c>.</param>
/// <param name="Architecture">Go's name of the family: <c>amd64</c> or <c>arm64</c>.</param>
/// <param name="Vendor">As Linux has it in <c>vendor_id</c>; empty where it is nobody's, such as the levels of the psABI.</param>
/// <param name="Parents">Names of those whose programs run here too.</param>
/// <param name="Flags">
/// What it has beyond its parents, by the names of <c>flags</c> or <c>Features</c> in <c>/proc/cpuinfo</c>.
/// </param>
public sealed record Microarchitecture(
    string Name,
    string Architecture,
    string Vendor,
    IReadOnlyList<string> Parents,
    IReadOnlyList<string> Flags
)
{
    /// <summary>The implementer and part of an ARM processor, as in <c>0x41/0xd0c</c>; empty elsewhere.</summary>
    public IReadOnlyList<string> Parts { get; init; } = [];
}
