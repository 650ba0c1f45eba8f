using Kiln.BuildSpec;
using Kiln.Client.Registry;
using Kiln.Oci;

namespace Kiln.Cli.Verbs;

/// <summary>Fetches what is delivered as one file: a SIF, or an image as squashfs (docs/guide/formats.md).</summary>
internal sealed class FilePull(RegistryClient registry, Shell shell)
{
    /// <summary>The one file of a manifest; null where it is an image or an index.</summary>
    public static Descriptor? FileOf(RemoteManifest manifest) =>
        manifest.Info.Layers is [{ MediaType: BuildMediaTypes.SifLayer or BuildMediaTypes.SquashfsLayer } file]
            ? file
            : null;

    /// <summary>Writes it where <paramref name="path"/> says; what is not its bytes is never there.</summary>
    public async Task WriteAsync(
        Reference reference,
        RemoteManifest manifest,
        Descriptor file,
        string path,
        CancellationToken cancel
    )
    {
        if (path.EndsWith(".tar", StringComparison.Ordinal))
        {
            throw CommandFailure.Usage(
                $"{reference} is one file, and no archive is made of it; name the file itself, for example app.sif, or see: kiln export --help"
            );
        }

        if (Directory.Exists(path))
        {
            throw CommandFailure.Usage(
                $"{reference} is one file, and '{path}' is a directory; name the file, for example {path}/app.sif"
            );
        }

        await registry.DownloadBlobAsync(RemoteRepository.Of(reference), file, path, cancel);
        await shell.Out.WriteLineAsync($"{manifest.Digest} {reference.Tag}".TrimEnd());
        await shell.Error.WriteLineAsync($"{path}: {Sizes.Text(file.Size)}");
    }
}
