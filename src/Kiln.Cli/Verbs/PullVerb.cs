using System.CommandLine;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Recipes;
using Kiln.Client.Registry;
using Kiln.Node.Machine;
using Kiln.Oci;

namespace Kiln.Cli.Verbs;

/// <summary>
/// <c>kiln pull</c>: the best image of an index for a machine, into an archive or by its digest only
/// (docs/guide/architectures.md, "Which image is taken").
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
            Description = "A directory, or a file that ends in .tar.",
            Arity = ArgumentArity.ZeroOrOne,
        };
        var format = ExportVerb.FormatOption();
        var insecure = Connection.InsecureOption();
        var command = new Command("pull", "Take the best image of an index for a machine.")
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
                        var (platform, micro) = Machine(parsed);
                        var place = ArchiveOf(parsed, archive);
                        var docker = parsed.GetRequiredValue(format) == ExportVerb.Docker;
                        var isTar = place is not null && ExportVerb.IsTar(place, docker);
                        using var connection = Connection.Open(shell, parsed.GetValue(insecure));
                        var choice = new BestImage(connection.Registry, shell);
                        var chosen = await choice.OfAsync(reference, platform, micro, cancel);
                        if (place is null)
                        {
                            await shell.Out.WriteLineAsync((chosen with { Tag = null }).ToString());
                            return ExitCodes.Ok;
                        }

                        var export = new Export(
                            connection.Registry,
                            RemoteRepository.Of(chosen),
                            platform: null,
                            referrers: false,
                            shell
                        );
                        IReadOnlyList<Tag> tags = chosen.Tag is { } tag ? [tag] : [];
                        await export.RunAsync(chosen.Digest, tags, place, isTar, docker, cancel);
                        return ExitCodes.Ok;
                    }
                )
        );
        return command;
    }

    private static (Platform Platform, string? Microarchitecture) Machine(ParseResult parsed)
    {
        var text = parsed.GetValue(ForPlatform);
        var micro = parsed.GetValue(ForMicroarchitecture);
        if (parsed.GetValue(ForThisNode))
        {
            return text is null && micro is null
                ? ThisMachine.Read()
                : throw CommandFailure.Usage(
                    "--for-this-node says which machine it is; leave --platform and --microarchitecture out"
                );
        }

        var platform =
            text is not null ? RecipeOptions.PlatformOf(text)
            : micro is not null ? BuildTargets.FamilyOf(micro)
            : throw CommandFailure.Usage(
                "say for which machine: --for-this-node, or --platform and --microarchitecture of another"
            );
        var target = BuildTargets.Normalize(new BuildTarget { Platform = platform, Microarchitecture = micro });
        return BuildTargets.Contradicts(target)
            ? throw CommandFailure.Usage($"{micro} is no {platform}; leave one of the two out")
            : (target.Platform, target.Microarchitecture);
    }

    private static string? ArchiveOf(ParseResult parsed, Argument<string?> archive)
    {
        var place = parsed.GetValue(archive)?.TrimEnd('/');
        return (place, parsed.GetValue(Print)) switch
        {
            (null, false) => throw CommandFailure.Usage(
                "say where the image goes: a directory or a file that ends in .tar; or --print, for its digest only"
            ),
            (not null, true) => throw CommandFailure.Usage("--print copies nothing; leave the archive out"),
            _ => place,
        };
    }
}
