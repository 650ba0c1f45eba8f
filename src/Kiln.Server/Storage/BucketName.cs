namespace Kiln.Server.Storage;

/// <summary>A bucket, and what every key of ours begins with: nothing, or a path with a slash at its end.</summary>
internal sealed record BucketName(string Bucket, string Prefix)
{
    private const string Scheme = "s3://";
    private const int MaxPrefix = 512;

    /// <summary>Reads <c>s3://BUCKET</c> or <c>s3://BUCKET/PREFIX</c>; null where it is of another form.</summary>
    public static BucketName? TryParse(string text)
    {
        if (!text.StartsWith(Scheme, StringComparison.Ordinal))
        {
            return null;
        }

        var words = text[Scheme.Length..].Split('/', 2);
        var prefix = words.Length > 1 ? words[1].Trim('/') : "";
        return
            words[0].Length is >= 3 and <= 63
            && words[0].All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c is '-' or '.')
            && prefix.Length <= MaxPrefix
            && prefix.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.' or '/')
            ? new BucketName(words[0], prefix.Length == 0 ? "" : prefix + "/")
            : null;
    }
}
