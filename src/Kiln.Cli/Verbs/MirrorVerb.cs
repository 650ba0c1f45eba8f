using System.CommandLine;
using Kiln.Client;
using Kiln.Oci;

namespace Kiln.Cli.Verbs;

/// <summary><c>kiln mirror</c>: brings repositories of one registry to another, and goes on where it was broken off.</summary>
internal sealed class MirrorVerb
{
    private readonly Argument<string> _source = new("SRC")
    {
        Description = "HOST/NAME, HOST/NAME:TAG, or repositories by a pattern: HOST/team/** or HOST/team/*.",
    };

    private readonly Argument<string> _target = new("DST")
    {
        Description = "HOST/NAME for one repository; for a pattern, HOST[/PREFIX], before which the names are put.",
    };

    private readonly Option<string[]> _tags = new("--tag", "--tags")
    {
        Description = "Only tags of this form, in which * stands for any characters. May be given several times.",
        HelpName = "GLOB",
    };

    private readonly Option<string[]> _platforms = new("--platform")
    {
        Description = "Of images for several platforms, only this one. With one, a tag means that image, not an index.",
        HelpName = "OS/ARCH",
    };

    private readonly Option<bool> _noReferrers = new("--no-referrers")
    {
        Description = "Leave signatures and other things that refer to images where they are.",
    };

    private readonly Option<bool> _dryRun = new("--dry-run")
    {
        Description = "Say what would be done, and do nothing.",
    };

    private readonly Option<bool> _delete = new("--delete")
    {
        Description = "Delete tags of the form of --tag at DST that SRC does not have.",
    };

    private readonly Option<int> _parallel = Arguments.Whole(
        "--parallel",
        "Blobs under way at a time.",
        least: int.MinValue,
        standard: 4
    );

    public static Command Create(Shell shell) => new MirrorVerb().CommandOf(shell);

    private Command CommandOf(Shell shell)
    {
        var insecure = Connection.InsecureOption();
        var command = new Command("mirror", "Copy repositories from one registry to another.")
        {
            _source,
            _target,
            _tags,
            _platforms,
            _noReferrers,
            _dryRun,
            _delete,
            _parallel,
            insecure,
        };
        command.SetAction(
            (parsed, cancel) =>
                Failures.GuardAsync(
                    shell,
                    async () =>
                    {
                        var plan = PlanOf(parsed);
                        using var connection = Connection.Open(shell, parsed.GetValue(insecure));
                        return await new MirrorRun(plan, connection.Registry, shell).RunAsync(cancel);
                    }
                )
        );
        return command;
    }

    private MirrorPlan PlanOf(ParseResult parsed) =>
        new()
        {
            Source = MirrorPlace.Parse(parsed.GetRequiredValue(_source)),
            Target = MirrorPlace.Parse(parsed.GetRequiredValue(_target)),
            Tags = parsed.GetValue(_tags) ?? [],
            Platforms = [.. (parsed.GetValue(_platforms) ?? []).Select(PlatformOf)],
            Referrers = !parsed.GetValue(_noReferrers),
            DryRun = parsed.GetValue(_dryRun),
            Delete = parsed.GetValue(_delete),
            Parallel = Bounded(parsed.GetValue(_parallel)),
        };

    private static Platform PlatformOf(string text) =>
        Platform.TryParse(text, out var platform)
            ? platform
            : throw CommandFailure.Usage($"'{text}' is not a platform such as linux/amd64");

    private static int Bounded(int parallel) =>
        parallel is > 0 and <= 64
            ? parallel
            : throw CommandFailure.Usage($"--parallel is {parallel}; it must be 1 to 64");
}

/// <summary>One end of a mirror as it was typed: a host, and perhaps a name, a pattern and a tag.</summary>
/// <param name="Path">A repository, a pattern of repositories, or nothing.</param>
internal sealed record MirrorPlace(string Host, string Path, Tag? Tag)
{
    public bool IsPattern => Path.Contains('*', StringComparison.Ordinal);

    /// <exception cref="CommandFailure">It cannot be read.</exception>
    public static MirrorPlace Parse(string text)
    {
        var slash = text.IndexOf('/', StringComparison.Ordinal);
        var (host, path) = slash < 0 ? (text, "") : (text[..slash], text[(slash + 1)..]);
        Tag? tag = null;
        var colon = path.IndexOf(':', StringComparison.Ordinal);
        if (colon >= 0)
        {
            if (!Tag.TryParse(path[(colon + 1)..], out tag))
            {
                throw CommandFailure.Usage($"'{text}' has no tag after its colon");
            }

            path = path[..colon];
        }

        if (host == Reference.DockerHub && path.Length > 0 && !path.Contains('/', StringComparison.Ordinal))
        {
            path = "library/" + path;
        }

        return
            (host == "localhost" || host.AsSpan().ContainsAny(".:"))
            && (path.Length == 0 || RepositoryName.TryParse(path.Replace("*", "x", StringComparison.Ordinal), out _))
            ? new MirrorPlace(host, path, tag)
            : throw CommandFailure.Usage(
                $"'{text}' is not HOST/NAME, with the registry's host and a name in lower case"
            );
    }

    /// <summary>Whether a repository is meant: <c>*</c> stands for part of a component, <c>**</c> at the end for any.</summary>
    public bool Means(RepositoryName name) => Glob.MatchesPath(name.Value, Path);
}

/// <summary>What is to be mirrored, and how.</summary>
internal sealed record MirrorPlan
{
    public required MirrorPlace Source { get; init; }
    public required MirrorPlace Target { get; init; }
    public required IReadOnlyList<string> Tags { get; init; }
    public required IReadOnlyList<Platform> Platforms { get; init; }
    public required bool Referrers { get; init; }
    public required bool DryRun { get; init; }
    public required bool Delete { get; init; }
    public required int Parallel { get; init; }
}
