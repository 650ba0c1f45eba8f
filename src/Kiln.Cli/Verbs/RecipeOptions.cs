using System.CommandLine;
using Kiln.BuildSpec;
using Kiln.Oci;

namespace Kiln.Cli.Verbs;

/// <summary>The options that say what to build and how; <c>build</c> and <c>push</c> share them.</summary>
internal sealed class RecipeOptions
{
    public Option<string?> File { get; } =
        new("--file", "-f")
        {
            Description =
                "The recipe; '-' is standard input. Otherwise Containerfile, Dockerfile, or the one *.def there is.",
            HelpName = "FILE",
        };

    public Option<string[]> Args { get; } =
        new("--build-arg")
        {
            Description = "A build argument. It stays visible in the image's history: not for secrets.",
            HelpName = "KEY=VALUE",
        };

    public Option<string?> TargetStage { get; } =
        new("--target") { Description = "The stage to build; the last one otherwise.", HelpName = "STAGE" };

    public Option<string[]> Platforms { get; } =
        new("--platform")
        {
            Description = "What to build for, as os/architecture[/variant]; several with commas make one index.",
            HelpName = "PLATFORM",
        };

    public Option<string[]> Microarchitectures { get; } =
        new("--microarchitecture")
        {
            Description = "Build for this micro-architecture too, by archspec's name, for example zen3.",
            HelpName = "NAME",
        };

    public Option<string[]> Labels { get; } =
        new("--label") { Description = "A label of the image.", HelpName = "KEY=VALUE" };

    public Option<int?> Timeout { get; } = Arguments.Seconds("--timeout", "How long the build may run.");

    public Argument<string?> Context { get; } =
        new("context")
        {
            Description =
                "The directory with the files of the build (default: the current one). Or a *.def with the files beside it. '-' reads the recipe from standard input, without any files.",
            Arity = ArgumentArity.ZeroOrOne,
        };

    public void AddTo(Command command)
    {
        foreach (var option in new Option[] { File, Args, TargetStage, Platforms, Microarchitectures, Labels, Timeout })
        {
            command.Add(option);
        }

        command.Add(Context);
    }

    /// <summary>Reads <c>KEY=VALUE</c> words.</summary>
    /// <param name="words">As they were typed.</param>
    /// <param name="option">Before each.</param>
    /// <param name="variable">Where the value of a key alone comes from; null where it has to be said.</param>
    public static Dictionary<string, string> Pairs(
        IEnumerable<string>? words,
        string option,
        Func<string, string?>? variable = null
    )
    {
        var pairs = new Dictionary<string, string>();
        foreach (var word in words ?? [])
        {
            var equals = word.IndexOf('=', StringComparison.Ordinal);
            var key = equals < 0 ? word : word[..equals];
            if (key.Length == 0)
            {
                throw CommandFailure.Usage($"{option} '{word}' has no key; write {option} KEY=VALUE");
            }

            if (equals < 0 && variable is null)
            {
                throw CommandFailure.Usage($"{option} '{word}' has no value; write {option} {word}=VALUE");
            }

            var value = equals < 0 ? variable?.Invoke(word) : word[(equals + 1)..];
            if (value is not null)
            {
                pairs[key] = value;
            }
        }

        return pairs;
    }

    /// <summary>Reads platforms, each word one or several with commas.</summary>
    public static List<Platform> PlatformsOf(IEnumerable<string>? words) =>
        [.. (words ?? []).SelectMany(word => word.Split(',', StringSplitOptions.TrimEntries)).Select(PlatformOf)];

    /// <summary>Reads one platform.</summary>
    public static Platform PlatformOf(string word) =>
        Platform.TryParse(word, out var platform)
            ? platform
            : throw CommandFailure.Usage($"'{word}' is not a platform; write os/architecture, for example linux/amd64");

    /// <summary>Reads names of micro-architectures, each word one or several with commas.</summary>
    public static List<string> MicroarchitecturesOf(IEnumerable<string>? words) =>
        [
            .. (words ?? []).SelectMany(word =>
                word.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)
            ),
        ];
}
