using System.CommandLine;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Recipes;
using Kiln.Client.Registry;
using Kiln.Node.Machine;
using Kiln.Oci;

namespace Kiln.Cli.Verbs;

/// <summary>
/// <c>kiln pull</c>: the best image of an index for a machine, into an archive or by its digest only
/// (docs/guide/architectures.md, "Which image is taken"); and what is one file, as that file.
/// </summary>
internal static class PullVerb
{
    private static readonly Option<bool> ForThisNode = new("--for-this-node")
    {
        Description = "Take the best image that runs on this machine.",
    };

    private static readonly Option<string?> ForPlatform = new("--platform")
    {
        Description = "Take the best image that runs on a machine of this platform, for example linux/amd64/v3.",
        HelpName = "PLATFORM",
    };

    private static readonly Option<string?> ForMicroarchitecture = new("--microarchitecture")
    {
        Description = "What that machine is, by archspec's name, for example zen3; its platform follows from it.",
        HelpName = "NAME",
    };

    private static readonly Option<bool> Print = new("--print")
    {
        Description = "Print the image's name with its digest, and copy nothing.",
    };

    public static Command Create(Shell shell)
    {
        var image = new Argument<string>("image") { Description = "HOST/NAME:TAG or HOST/NAME@DIGEST." };
        var archive = new Argument<string?>("archive")
        {
            Description = "A directory, or a file that ends in .tar; the file itself for what is one, such as a SIF.",
            Arity = ArgumentArity.ZeroOrOne,
        };
        var format = ExportVerb.FormatOption();
        var insecure = Connection.InsecureOption();
        var command = new Command(
            "pull",
            "Take the best image of an index for a machine: for this one, unless another is named."
        )
        {
            image,
            archive,
            ForThisNode,
            ForPlatform,
            ForMicroarchitecture,
            Print,
            format,
            insecure,
        };
        command.SetAction(
            (parsed, cancel) =>
                Failures.GuardAsync(
                    shell,
                    async () =>
                    {
                        var reference = References.Target(parsed.GetRequiredValue(image), shell);
                        var place = PlaceOf(parsed, parsed.GetValue(archive)?.TrimEnd('/'));
                        var machine = Machine(parsed);
                        var docker = parsed.GetRequiredValue(format) == ExportVerb.Docker;
                        using var connection = Connection.Open(shell, parsed.GetValue(insecure));
                        await PullAsync(connection.Registry, reference, place, machine, docker, shell, cancel);
                        return ExitCodes.Ok;
                    }
                )
        );
        return command;
    }

    private static async Task PullAsync(
        RegistryClient registry,
        Reference reference,
        string? place,
        Choice machine,
        bool docker,
        Shell shell,
        CancellationToken cancel
    )
    {
        var isTar = place is not null && ExportVerb.IsTar(place, docker);
        var manifest = await registry.GetManifestAsync(reference, cancel);
        if (machine.Microarchitecture is { } name)
        {
            MicroarchitectureName.Require(name, NamesOf(manifest));
        }

        var choice = new BestImage(registry, shell);
        Reference chosen;
        if (FilePull.FileOf(manifest) is { } file)
        {
            // The file says nothing of its machine, but the image that it was made of does.
            if (machine.IsSaid && manifest.Info.Subject is { } of)
            {
                var made = reference with { Digest = of.Digest };
                await choice.OfAsync(made, machine.Platform, machine.Microarchitecture, cancel);
            }

            if (place is not null)
            {
                await new FilePull(registry, shell).WriteAsync(reference, manifest, file, place, cancel);
                return;
            }

            chosen = reference with { Digest = manifest.Digest };
        }
        else
        {
            chosen = await choice.OfAsync(reference, machine.Platform, machine.Microarchitecture, cancel);
        }

        if (place is null)
        {
            await shell.Out.WriteLineAsync((chosen with { Tag = null }).ToString());
            return;
        }

        var export = new Export(registry, RemoteRepository.Of(chosen), platform: null, referrers: false, shell);
        IReadOnlyList<Tag> tags = chosen.Tag is { } tag ? [tag] : [];
        await export.RunAsync(chosen.Digest, tags, place, isTar, docker, cancel);
    }

    // What another builder's table has and ours does not.
    private static IEnumerable<string> NamesOf(RemoteManifest index) =>
        index
            .Info.Manifests.Select(entry => entry.Annotations?.GetValueOrDefault(HintAnnotations.CpuTarget))
            .OfType<string>();

    /// <summary>The machine that the image is for.</summary>
    /// <param name="IsSaid">False where nobody said which: it is this one.</param>
    private sealed record Choice(Platform Platform, string? Microarchitecture, bool IsSaid);

    private static Choice Machine(ParseResult parsed)
    {
        var text = parsed.GetValue(ForPlatform);
        var micro = parsed.GetValue(ForMicroarchitecture);
        if (parsed.GetValue(ForThisNode))
        {
            return text is null && micro is null
                ? ThisOne(isSaid: true)
                : throw CommandFailure.Usage(
                    "--for-this-node says which machine it is; leave --platform and --microarchitecture out"
                );
        }

        if (text is null && micro is null)
        {
            // A script that asks for a digest has to say for which machine.
            return parsed.GetValue(Print)
                ? throw CommandFailure.Usage(
                    "say for which machine: --for-this-node, or --platform and --microarchitecture of another"
                )
                : ThisOne(isSaid: false);
        }

        var platform = text is not null ? RecipeOptions.PlatformOf(text) : BuildTargets.FamilyOf(micro!);
        var target = BuildTargets.Normalize(new BuildTarget { Platform = platform, Microarchitecture = micro });
        return BuildTargets.Contradicts(target)
            ? throw CommandFailure.Usage($"{micro} is no {platform}; leave one of the two out")
            : new Choice(target.Platform, target.Microarchitecture, IsSaid: true);
    }

    private static Choice ThisOne(bool isSaid)
    {
        var (platform, microarchitecture) = ThisMachine.Read();
        return new Choice(platform, microarchitecture, isSaid);
    }

    private static string? PlaceOf(ParseResult parsed, string? place) =>
        (place, parsed.GetValue(Print)) switch
        {
            (null, false) => throw CommandFailure.Usage(
                "say where the image goes: a directory or a file that ends in .tar; or --print, for its digest only"
            ),
            (not null, true) => throw CommandFailure.Usage("--print copies nothing; leave the archive out"),
            _ => place,
        };
}
