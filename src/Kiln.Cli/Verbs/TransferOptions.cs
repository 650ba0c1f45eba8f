using System.CommandLine;
using System.IO.Enumeration;
using Kiln.Client.Copying;
using Kiln.Oci;

namespace Kiln.Cli.Verbs;

/// <summary>What <c>kiln import</c> and <c>kiln export</c> both are told.</summary>
internal sealed class TransferOptions
{
    private readonly Option<string[]> _tags = new("--tag")
    {
        Description = "Only tags that fit this pattern, with * and ?; may be given again. All tags by default.",
        HelpName = "PATTERN",
    };

    private readonly Option<string?> _platform = new("--platform")
    {
        Description = "Only the image for this platform, in place of the index. All platforms by default.",
        HelpName = "PLATFORM",
    };

    private readonly Option<bool> _referrers = new("--referrers")
    {
        Description = "Signatures, bills of material and whatever else refers to the images come along.",
    };

    /// <summary>Adds the options to a command.</summary>
    public static TransferOptions On(Command command)
    {
        var options = new TransferOptions();
        command.Add(options._tags);
        command.Add(options._platform);
        command.Add(options._referrers);
        return options;
    }

    public bool Referrers(ParseResult parsed) => parsed.GetValue(_referrers);

    public bool HasPattern(ParseResult parsed) => parsed.GetValue(_tags) is { Length: > 0 };

    /// <summary>Whether a tag is wanted.</summary>
    public bool Takes(ParseResult parsed, string tag) =>
        parsed.GetValue(_tags) is not { Length: > 0 } patterns
        || patterns.Any(pattern => FileSystemName.MatchesSimpleExpression(pattern, tag, ignoreCase: false));

    /// <summary>The one platform that is wanted; null for all.</summary>
    public Platform? PlatformOf(ParseResult parsed) =>
        parsed.GetValue(_platform) is { } text ? RecipeOptions.PlatformOf(text) : null;

    /// <summary>Says what a copy did.</summary>
    public static string Say(CopyTally tally) =>
        $"{tally.Manifests} manifests and {tally.Blobs} blobs copied ({Sizes.Text(tally.Bytes)}), {tally.WereThere} were there";
}
