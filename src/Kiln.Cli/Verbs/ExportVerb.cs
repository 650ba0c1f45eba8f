using System.CommandLine;
using System.Runtime.InteropServices;
using Kiln.Client.Archives;
using Kiln.Client.Copying;
using Kiln.Client.Registry;
using Kiln.Oci;

namespace Kiln.Cli.Verbs;

/// <summary><c>kiln export</c>: images of a registry into an archive.</summary>
internal static class ExportVerb
{
    internal const string Docker = "docker";

    public static Command Create(Shell shell)
    {
        var image = new Argument<string>("image")
        {
            Description = "HOST/NAME:TAG, HOST/NAME@DIGEST, or HOST/NAME for all tags.",
        };
        var archive = new Argument<string>("archive") { Description = "A directory, or a file that ends in .tar." };
        var format = FormatOption();
        var insecure = Connection.InsecureOption();
        var command = new Command("export", "Copy images of a registry into an archive.")
        {
            image,
            archive,
            format,
            insecure,
        };
        var transfer = TransferOptions.On(command);
        command.SetAction(
            (parsed, cancel) =>
                Failures.GuardAsync(
                    shell,
                    async () =>
                    {
                        var reference = References.Target(parsed.GetRequiredValue(image), shell);
                        var path = parsed.GetRequiredValue(archive).TrimEnd('/');
                        var docker = parsed.GetRequiredValue(format) == Docker;
                        var isTar = IsTar(path, docker);
                        using var connection = Connection.Open(shell, parsed.GetValue(insecure));
                        var tags = await TagsAsync(connection, reference, transfer, parsed, cancel);
                        var export = new Export(
                            connection.Registry,
                            RemoteRepository.Of(reference),
                            transfer.PlatformOf(parsed) ?? (docker ? OwnPlatform() : null),
                            transfer.Referrers(parsed) && !docker,
                            shell
                        );
                        await export.RunAsync(reference.Digest, tags, path, isTar, docker, cancel);
                        return ExitCodes.Ok;
                    }
                )
        );
        return command;
    }

    internal static Option<string> FormatOption()
    {
        var format = new Option<string>("--format")
        {
            Description = "oci, an OCI image layout, or docker, a tar for docker load.",
            HelpName = "oci|docker",
            DefaultValueFactory = _ => "oci",
        };
        format.AcceptOnlyFromAmong("oci", Docker);
        return format;
    }

    /// <summary>Whether an archive is a tar, which it has to be for docker.</summary>
    internal static bool IsTar(string path, bool docker) =>
        path.EndsWith(".tar", StringComparison.Ordinal)
        || (docker ? throw CommandFailure.Usage("docker loads tars only; name a file that ends in .tar") : false);

    private static async Task<IReadOnlyList<Tag>> TagsAsync(
        Connection connection,
        Reference reference,
        TransferOptions transfer,
        ParseResult parsed,
        CancellationToken cancel
    )
    {
        if (reference.Tag is not null || reference.Digest is not null)
        {
            return reference.Tag is null ? [] : [reference.Tag];
        }

        var all = await connection.Registry.ListTagsAsync(RemoteRepository.Of(reference), cancel);
        var wanted = all.Where(tag => transfer.Takes(parsed, tag)).Select(Tag.Parse).ToList();
        return wanted.Count > 0
            ? wanted
            : throw CommandFailure.Usage($"{reference.Host}/{reference.Repository} has no tag that fits");
    }

    /// <summary>Of this machine.</summary>
    internal static Platform OwnPlatform() =>
        RuntimeInformation.OSArchitecture switch
        {
            Architecture.Arm64 => new Platform("linux", "arm64"),
            _ => Platform.LinuxAmd64,
        };
}

/// <summary>One export.</summary>
internal sealed class Export(
    RegistryClient registry,
    RemoteRepository repository,
    Platform? platform,
    bool referrers,
    Shell shell
)
{
    /// <summary>Copies into a layout, which for a tar is made beside it, packed and removed.</summary>
    public async Task RunAsync(
        Digest? digest,
        IReadOnlyList<Tag> tags,
        string path,
        bool isTar,
        bool docker,
        CancellationToken cancel
    )
    {
        var root = isTar ? Path.GetFullPath($"{path}.{Guid.NewGuid():n}.parts") : path;
        try
        {
            var target = await OciLayoutTarget.OpenAsync(root, cancel);
            var source = new RegistrySource(registry, repository);
            var copy = new TreeCopy(source, target, new CopyOptions { Referrers = referrers });
            var images = new List<(RemoteManifest Manifest, Tag? Tag)>();
            var wanted = tags.Select(tag => (Tag?)tag).DefaultIfEmpty(null);
            foreach (var tag in wanted)
            {
                var reference = new Reference(repository.Host, repository.Name, tag, digest);
                var manifest = await PlatformManifest.ChooseAsync(
                    source,
                    await registry.GetManifestAsync(reference, cancel),
                    platform,
                    cancel
                );
                await copy.CopyAsync(manifest, tag is null ? [] : [tag], cancel);
                if (tag is null)
                {
                    target.Keep(manifest);
                }

                images.Add((manifest, tag));
                await shell.Out.WriteLineAsync($"{manifest.Digest} {tag}".TrimEnd());
            }

            await PackAsync(target, root, path, isTar, docker, images, cancel);
            await shell.Error.WriteLineAsync(TransferOptions.Say(copy.Tally));
        }
        finally
        {
            if (isTar && Directory.Exists(root))
            {
                Directory.Delete(root, recursive: true);
            }
        }
    }

    private async Task PackAsync(
        OciLayoutTarget target,
        string root,
        string path,
        bool isTar,
        bool docker,
        List<(RemoteManifest Manifest, Tag? Tag)> images,
        CancellationToken cancel
    )
    {
        await target.FinishAsync(cancel);
        if (docker)
        {
            await DockerArchiveWriter.WriteAsync(
                path,
                root,
                [
                    .. images
                        .GroupBy(i => i.Manifest.Digest)
                        .Select(g =>
                            (
                                g.First().Manifest,
                                (IReadOnlyList<string>)
                                    [.. g.Select(i => i.Tag).OfType<Tag>().Select(tag => $"{repository}:{tag}")]
                            )
                        ),
                ],
                cancel
            );
        }
        else if (isTar)
        {
            await OciLayoutTarget.PackAsync(root, path, cancel);
        }
    }
}
