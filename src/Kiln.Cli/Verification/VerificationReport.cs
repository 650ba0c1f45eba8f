namespace Kiln.Cli.Verification;

/// <summary>What <c>kiln verify</c> found.</summary>
internal sealed record VerificationReport
{
    public required string Image { get; init; }

    /// <summary>Whether everything that was looked at holds, for every image.</summary>
    public bool Verified => Images.Count > 0 && Images.All(i => i.Findings.All(f => f.Holds));

    /// <summary>One for each image of an index.</summary>
    public required IReadOnlyList<ImageReport> Images { get; init; }

    public string ToText()
    {
        using var text = new StringWriter();
        foreach (var image in Images)
        {
            var name = image.Platform is null ? image.Digest : $"{image.Digest} ({image.Platform})";
            text.WriteLine(TerminalText.Escape(name));
            Columns.Write(
                text,
                [.. image.Findings.Select(f => (string[])[f.Holds ? "  ok" : "  NO", f.About, f.Text])]
            );
        }

        if (Images.Count == 0)
        {
            text.WriteLine("there is no image in it");
        }

        text.WriteLine(Verified ? "verified" : "NOT verified");
        return text.ToString();
    }
}

/// <summary>What was found of one image manifest.</summary>
internal sealed record ImageReport
{
    public required string Digest { get; init; }
    public string? Platform { get; init; }
    public required IReadOnlyList<Finding> Findings { get; init; }
}

/// <summary>One thing that was looked at.</summary>
/// <param name="About">In a word.</param>
/// <param name="Holds">Whether it is as it has to be.</param>
/// <param name="Text">What it is, or what is wrong with it.</param>
internal sealed record Finding(string About, bool Holds, string Text);
