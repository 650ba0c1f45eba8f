using System.CommandLine;
using Kiln.BuildSpec.Architectures;
using Kiln.Client;
using Kiln.Client.Archives;
using Kiln.Client.Copying;
using Kiln.Client.Registry;
using Kiln.Oci;

namespace Kiln.Cli.Verbs;

/// <summary><c>kiln import</c>: images of an archive into a registry.</summary>
internal static class ImportVerb
{
    public static Command Create(Shell shell)
    {
        var archive = new Argument<string>("archive")
        {
            Description =
                "An OCI image layout, a directory or a tar, or what docker save wrote; gzip and zstd are understood.",
        };
        var target = new Argument<string>("target")
        {
            Description = "Where the images go: HOST/NAME with the archive's tags, or HOST/NAME:TAG for one image.",
        };
        var insecure = Connection.InsecureOption();
        var command = new Command("import", "Copy images of an archive into a registry.") { archive, target, insecure };
        var transfer = TransferOptions.On(command);
        command.SetAction(
            (parsed, cancel) =>
                Failures.GuardAsync(
                    shell,
                    async () =>
                    {
                        var reference = References.Target(parsed.GetRequiredValue(target), shell);
                        using var connection = Connection.Open(shell, parsed.GetValue(insecure));
                        using var files = await ArchiveFiles.OpenAsync(parsed.GetRequiredValue(archive), cancel);
                        var source = await ImageArchives.ReadAsync(files, cancel);
                        var images = Choose(source, reference, transfer, parsed);
                        var copy = new TreeCopy(
                            source,
                            new RegistryTarget(connection.Registry, RemoteRepository.Of(reference)),
                            new CopyOptions { Referrers = transfer.Referrers(parsed) }
                        );
                        foreach (var (manifest, tags) in images)
                        {
                            var root = await PlatformManifest.ChooseAsync(
                                source,
                                await source.GetManifestAsync(manifest, cancel),
                                transfer.PlatformOf(parsed),
                                cancel
                            );
                            await copy.CopyAsync(root, tags, cancel);
                            await shell.Out.WriteLineAsync($"{root.Digest} {string.Join(' ', tags)}".TrimEnd());
                        }

                        await shell.Error.WriteLineAsync(TransferOptions.Say(copy.Tally));
                        return ExitCodes.Ok;
                    }
                )
        );
        return command;
    }

    private static List<(Digest Manifest, IReadOnlyList<Tag> Tags)> Choose(
        IImageArchive archive,
        Reference target,
        TransferOptions transfer,
        ParseResult parsed
    )
    {
        // What has no tag is not meant where tags are asked for.
        var wanted = archive
            .Images.Where(i => i.Tag is { } tag ? transfer.Takes(parsed, tag.Value) : !transfer.HasPattern(parsed))
            .ToList();
        if (target.Digest is not null)
        {
            throw CommandFailure.Usage("an import goes to HOST/NAME or HOST/NAME:TAG, not to a digest");
        }

        if (target.Tag is not null)
        {
            wanted = wanted.Exists(i => i.Tag is not null) ? wanted.FindAll(i => i.Tag is not null) : wanted;
            return wanted.Select(i => i.Manifest.Digest).Distinct().Count() == 1
                ? [(wanted[0].Manifest.Digest, [target.Tag])]
                : throw CommandFailure.Usage(
                    $"the archive has {wanted.Count} images of that choice ({Names(wanted)}); choose one with --tag, or give HOST/NAME without a tag"
                );
        }

        if (wanted.Count == 0)
        {
            throw CommandFailure.Usage($"no image of the archive fits; it has {Names(archive.Images)}");
        }

        foreach (var clash in wanted.Where(i => i.Tag is not null).GroupBy(i => i.Tag))
        {
            if (clash.Select(i => i.Manifest.Digest).Distinct().Count() > 1)
            {
                throw CommandFailure.Usage(
                    $"the archive has several images that would get the tag {clash.Key} ({Names(clash)}); import them one by one, each with HOST/NAME:TAG"
                );
            }
        }

        return
        [
            .. wanted
                .GroupBy(i => i.Manifest.Digest)
                .Select(g => (g.Key, (IReadOnlyList<Tag>)[.. g.Select(i => i.Tag).OfType<Tag>().Distinct()])),
        ];
    }

    private static string Names(IEnumerable<ArchivedImage> images) =>
        string.Join(", ", images.Select(i => i.Name ?? i.Manifest.Digest.ToString()).Take(10));
}

/// <summary>The image for a platform, in place of the index that lists it.</summary>
internal static class PlatformManifest
{
    private const int MaxDepth = 3;

    /// <summary>The manifest itself where no platform is asked for, or where it is no index.</summary>
    public static async Task<RemoteManifest> ChooseAsync(
        IContentSource source,
        RemoteManifest manifest,
        Platform? platform,
        CancellationToken cancel
    )
    {
        for (var depth = 0; platform is not null && MediaTypes.IsIndex(manifest.Info.MediaType); depth++)
        {
            var chosen = depth == MaxDepth ? null : ImageChoice.Of(manifest.Info.Manifests, platform);
            manifest = chosen is null
                ? throw new RegistryException(
                    RegistryFault.NotFound,
                    $"choosing from {manifest.Digest}",
                    $"it has no image for {platform}"
                )
                : await source.GetManifestAsync(chosen.Digest, cancel);
        }

        return manifest;
    }
}
