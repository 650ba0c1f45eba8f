namespace Kiln.Server;

/// <summary>Where blobs and uploads are kept: in files of the data directory, or in a bucket (docs/guide/replicas.md).</summary>
public sealed record StorageOptions
{
    /// <summary><c>s3://BUCKET</c> or <c>s3://BUCKET/PREFIX</c>; null keeps them in files.</summary>
    public string? Location { get; init; }

    /// <summary>The object store's address where it is not Amazon's, for example <c>https://s3.example.org</c>.</summary>
    public string? Endpoint { get; init; }

    public string Region { get; init; } = "us-east-1";

    /// <summary>Where the bucket's name stands in addresses.</summary>
    public BucketAddressing Addressing { get; init; }

    /// <summary>
    /// A file as <c>~/.aws/credentials</c>, whose profile <c>default</c> counts; null leaves it to <c>AWS_ACCESS_KEY_ID</c>,
    /// <c>AWS_SECRET_ACCESS_KEY</c> and <c>AWS_SESSION_TOKEN</c>.
    /// </summary>
    public string? CredentialsFile { get; init; }

    /// <summary>Whether clients are sent to the bucket for blobs (307), with an address that opens the one blob for minutes.</summary>
    public bool Redirect { get; init; }
}

/// <summary>Where a bucket's name stands in addresses.</summary>
public enum BucketAddressing
{
    /// <summary>In the path where there is an endpoint, in the host name at Amazon.</summary>
    Auto,
    Path,
    Host,
}
