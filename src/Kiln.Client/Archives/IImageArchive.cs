using Kiln.Client.Copying;
using Kiln.Oci;

namespace Kiln.Client.Archives;

/// <summary>An image of an archive.</summary>
/// <param name="Name">As the archive calls it: a tag, or a reference with one; null where it has no name.</param>
public sealed record ArchivedImage(string? Name, Descriptor Manifest)
{
    /// <summary>The tag in the name.</summary>
    public Tag? Tag =>
        Tag.TryParse(Name, out var tag) ? tag
        : Reference.TryParse(Name, out var reference) ? reference.Tag
        : null;
}

/// <summary>An archive of images, to copy from.</summary>
public interface IImageArchive : IContentSource
{
    /// <summary>What it has, in its own order.</summary>
    IReadOnlyList<ArchivedImage> Images { get; }
}

/// <summary>Finds out what kind of archive something is.</summary>
public static class ImageArchives
{
    /// <summary>Reads an OCI image layout, or what <c>docker save</c> wrote.</summary>
    /// <exception cref="InvalidDataException">It is neither, or broken.</exception>
    public static async Task<IImageArchive> ReadAsync(ArchiveFiles files, CancellationToken cancel) =>
        // Newer docker writes both lists: that of OCI says more.
        files.Size(OciLayout.IndexFile)
            is not null
            ? await OciLayout.ReadAsync(files, cancel)
        : files.Size(DockerArchive.ListFile) is not null ? await DockerArchive.ReadAsync(files, cancel)
        : throw files.Wrong(
            $"it has neither {OciLayout.IndexFile} (an OCI image layout) nor {DockerArchive.ListFile} (docker save)"
        );
}
