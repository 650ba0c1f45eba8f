namespace Kiln.Conformance.Wire;

/// <summary>The <c>Link</c> header (RFC 8288), as far as it is used here.</summary>
internal static class Links
{
    /// <summary>The address of <c>rel="next"</c>; the check fails where there is none.</summary>
    public static string Next(Answer answer, string header) => Find(answer, header, "next");

    public static string Find(Answer answer, string header, string relation)
    {
        foreach (var link in header.Split(", <"))
        {
            var end = link.IndexOf('>', StringComparison.Ordinal);
            if (end > 0 && link[end..].Contains($"rel=\"{relation}\"", StringComparison.Ordinal))
            {
                return Uri.TryCreate(answer.Uri, link[..end].TrimStart('<'), out var address)
                    ? address.AbsoluteUri
                    : throw answer.Failure($"has a Link that is no address: {header}");
            }
        }

        throw answer.Failure($"has no Link with rel=\"{relation}\": {header}");
    }
}
