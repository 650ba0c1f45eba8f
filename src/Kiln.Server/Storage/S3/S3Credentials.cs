using Amazon.Runtime;

namespace Kiln.Server.Storage.S3;

/// <summary>With which keys a bucket is opened. They come from a file or the environment, never from an argument.</summary>
internal static class S3Credentials
{
    private const int MaxBytes = 64 << 10;

    /// <exception cref="ServerStartException">There are none; the message says where they are looked for.</exception>
    public static AWSCredentials Read(string? file, Func<string, string?> variable)
    {
        var found = file is null
            ? (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"), variable("AWS_SESSION_TOKEN"))
            : ReadFile(file);
        if (string.IsNullOrEmpty(found.Item1) || string.IsNullOrEmpty(found.Item2))
        {
            throw new ServerStartException(
                file is null
                    ? "there are no keys for the bucket: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a file with --s3-credentials-file"
                    : $"{file} has no aws_access_key_id and aws_secret_access_key in its profile [default]"
            );
        }

        return string.IsNullOrEmpty(found.Item3)
            ? new BasicAWSCredentials(found.Item1, found.Item2)
            : new SessionAWSCredentials(found.Item1, found.Item2, found.Item3);
    }

    private static (string? Id, string? Secret, string? Session) ReadFile(string file)
    {
        string[] lines;
        try
        {
            if (new FileInfo(file).Length > MaxBytes)
            {
                throw new ServerStartException($"{file} is too large to be a file of credentials");
            }

            lines = File.ReadAllLines(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ServerStartException($"cannot read the bucket's credentials: {e.Message}", e);
        }

        var values = new Dictionary<string, string>(StringComparer.Ordinal);
        var profile = "default";
        foreach (var line in lines.Select(line => line.Trim()))
        {
            if (line.StartsWith('[') && line.EndsWith(']'))
            {
                profile = line[1..^1].Trim();
            }
            else if (profile == "default" && line.Split('=', 2) is [var name, var value])
            {
                values[name.Trim()] = value.Trim();
            }
        }

        return (
            values.GetValueOrDefault("aws_access_key_id"),
            values.GetValueOrDefault("aws_secret_access_key"),
            values.GetValueOrDefault("aws_session_token")
        );
    }
}
