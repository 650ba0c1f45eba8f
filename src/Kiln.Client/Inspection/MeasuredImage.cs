using Kiln.BuildSpec;
using Kiln.BuildSpec.Products;
using Kiln.Inspect;
using Kiln.Oci;

namespace Kiln.Client.Inspection;

/// <summary>An image of which all layers were read, and what follows from that (build-extension, "Products and hints").</summary>
public sealed record MeasuredImage
{
    /// <summary>The image manifest.</summary>
    public required Descriptor Subject { get; init; }

    /// <summary>What it was built for, or what its config says.</summary>
    public required Platform Platform { get; init; }

    /// <summary>The <c>User</c> of its config.</summary>
    public string? User { get; init; }

    /// <summary>
    /// True where it was built without real ids (every change of owner was pretended): the owners then mean nothing.
    /// </summary>
    public bool SingleId { get; init; }

    /// <summary>Lowest first.</summary>
    public required IReadOnlyList<(Descriptor Blob, LayerFacts Facts)> Layers { get; init; }

    /// <summary>Whether a build pretended its owners: under seccomp the image has no ids of its own.</summary>
    public static bool IsSingleId(BuildConfinement? confinement) => confinement?.Root == RootMethods.Seccomp;

    /// <summary>What stands in the job and on the index entry, and the document with the evidence.</summary>
    public (ImageHints Hints, HintsDocument Document) Judge()
    {
        var image = FlattenedImage.Of(Layers.Select(l => l.Facts));
        var verdict = FlattenVerdict.Of(image, User, SingleId);
        var entries = image.Entries.OrderBy(e => e.Path, StringComparer.Ordinal).ToList();
        var software = new SoftwareHints(entries);
        var hints = new ImageHints
        {
            FlattenOwnership = verdict.Ownership,
            FlattenMode = verdict.Mode,
            Owners = verdict.Owners,
            Groups = verdict.Groups,
            SetIdFiles = verdict.SetIdFiles,
            CapabilityFiles = verdict.CapabilityFiles,
            UncompressedBytes = verdict.Bytes,
            Files = verdict.Files,
            Reasons = verdict.Reasons.Count == 0 ? null : verdict.Reasons,
            CpuTarget = software.CpuTarget(Platform),
            Glibc = software.Elf?.Glibc,
            Mpi = software.Families(LibraryKind.Mpi),
            MpiImplementation = software.MpiImplementations,
            Gpu = software.Families(LibraryKind.Gpu),
            Communication = software.Families(LibraryKind.Communication),
        };
        return (hints, Document(verdict, hints, entries, software));
    }

    private HintsDocument Document(
        FlattenVerdict verdict,
        ImageHints hints,
        List<LayerEntry> entries,
        SoftwareHints software
    ) =>
        new()
        {
            Subject = new Descriptor
            {
                MediaType = Subject.MediaType,
                Digest = Subject.Digest,
                Size = Subject.Size,
            },
            Platform = Platform.ToString(),
            Flatten = new HintedFlattening(verdict.Ownership, verdict.Mode) { Reasons = hints.Reasons },
            Owners = verdict.Owners,
            Groups = verdict.Groups,
            Files = FileHints.Of(verdict.Bytes, verdict.Files, entries),
            Layers =
            [
                .. Layers.Select(l => new HintedLayer(
                    l.Blob.Digest,
                    l.Blob.Size,
                    l.Facts.TarBytes,
                    l.Facts.Entries.Count
                )),
            ],
            Directories = FileHints.Largest(entries),
            Elf = software.Elf,
            Mpi = software.Libraries(LibraryKind.Mpi),
            Gpu = software.Libraries(LibraryKind.Gpu),
            Communication = software.Libraries(LibraryKind.Communication),
            Annotations = ProductIndex.Annotations(hints),
        };
}
