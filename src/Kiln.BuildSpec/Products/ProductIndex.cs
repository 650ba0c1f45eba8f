using System.Globalization;
using System.Text.Json;
using Kiln.BuildSpec.Architectures;
using Kiln.BuildSpec.Recipes;
using Kiln.Oci;

namespace Kiln.BuildSpec.Products;

/// <summary>One image of a job, on its way into the index.</summary>
/// <param name="Microarchitecture">For what it was compiled, by archspec's name; null where that is its family.</param>
/// <param name="Hints">What was measured of it; null where that could not be.</param>
/// <param name="Emulated">Whether its steps ran on a machine that emulated its processor.</param>
public sealed record ProductEntry(
    Descriptor Manifest,
    Platform Platform,
    string? Microarchitecture,
    ImageHints? Hints,
    bool Emulated
)
{
    /// <summary>What was changed where it was flattened.</summary>
    public FlattenReport? Flattening { get; init; }
}

/// <summary>
/// The index that a job's tags point at: always an index, so that a tag keeps its shape; the generic image first, so
/// that clients that know nothing of micro-architectures take it, and those for one kind of machine last (P-1). The same products give the same bytes.
/// </summary>
public static class ProductIndex
{
    /// <summary>The order in which images of a job stand in its index, and in its result.</summary>
    public static IEnumerable<T> InOrder<T>(
        IEnumerable<T> products,
        Func<T, Platform> platform,
        Func<T, string?> microarchitecture,
        Func<T, int> ordinal
    ) =>
        products
            .OrderBy(p =>
                BuildTargets.Finer(platform(p), microarchitecture(p)) is not null ? 2
                : platform(p).Variant is null ? 0
                : 1
            )
            .ThenBy(ordinal);

    /// <param name="products">In their order.</param>
    public static byte[] Of(IEnumerable<ProductEntry> products) =>
        JsonSerializer.SerializeToUtf8Bytes(
            new ImageIndex { Manifests = [.. products.Select(Entry)] },
            OciJson.Default.ImageIndex
        );

    // Derived hints stand on the index descriptor; nothing re-serialises the manifest itself (build-extension, decision 4).
    private static Descriptor Entry(ProductEntry product) =>
        product.Manifest with
        {
            Platform = product.Platform,
            Annotations = Annotations(product),
        };

    // What was asked for says more than what the files declare, unless these need a higher level than that has.
    private static SortedDictionary<string, string>? Annotations(ProductEntry product)
    {
        var all = product.Hints is null ? new(StringComparer.Ordinal) : Annotations(product.Hints);
        if (product.Flattening is { } flattening)
        {
            all[HintAnnotations.FlattenChanges] = flattening.Summary();
        }

        if (product.Microarchitecture is { } micro)
        {
            var measured = all.GetValueOrDefault(HintAnnotations.CpuTarget);
            all[HintAnnotations.CpuTarget] =
                LevelOf(measured) is { } needed && string.CompareOrdinal(needed, LevelOf(micro)) > 0
                    ? measured!
                    : micro;
        }

        if (product.Emulated)
        {
            all[HintAnnotations.Emulated] = "true";
        }

        return all.Count == 0 ? null : all;
    }

    // Such as v3; null where it is none beyond what the family means anyway.
    private static string? LevelOf(string? target) => target is null ? null : Microarchitectures.VariantOf(target);

    /// <summary>What was measured, as it stands on an index entry (P-4).</summary>
    public static SortedDictionary<string, string> Annotations(ImageHints hints)
    {
        var annotations = new SortedDictionary<string, string>(StringComparer.Ordinal)
        {
            [HintAnnotations.FlattenOwnership] = hints.FlattenOwnership,
            [HintAnnotations.FlattenMode] = hints.FlattenMode,
            [HintAnnotations.Ids] = string.Create(
                CultureInfo.InvariantCulture,
                $"uids={hints.Owners.Count};gids={hints.Groups.Count};setid={hints.SetIdFiles};caps={hints.CapabilityFiles}"
            ),
            [HintAnnotations.UnpackedBytes] = hints.UncompressedBytes.ToString(CultureInfo.InvariantCulture),
            [HintAnnotations.UnpackedFiles] = hints.Files.ToString(CultureInfo.InvariantCulture),
        };
        (string Key, IReadOnlyList<string>? Values)[] found =
        [
            (HintAnnotations.CpuTarget, hints.CpuTarget is null ? null : [hints.CpuTarget]),
            (HintAnnotations.Glibc, hints.Glibc is null ? null : [hints.Glibc]),
            (HintAnnotations.Mpi, hints.Mpi),
            (HintAnnotations.MpiImplementation, hints.MpiImplementation),
            (HintAnnotations.Gpu, hints.Gpu),
            (HintAnnotations.Communication, hints.Communication),
        ];
        foreach (var (key, values) in found)
        {
            if (values is { Count: > 0 })
            {
                annotations[key] = string.Join(',', values);
            }
        }

        return annotations;
    }
}
