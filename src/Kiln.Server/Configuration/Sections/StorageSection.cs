namespace Kiln.Server.Configuration.Sections;

/// <summary><c>storage</c>: where blobs and uploads are kept.</summary>
internal static class StorageSection
{
    public static Field<ServerOptions> Field { get; } =
        new Section<ServerOptions, StorageOptions>(
            "storage",
            "Where blobs and uploads are kept: in the data directory if nothing is said, or in a bucket.",
            o => o.Storage,
            (o, v) => o with { Storage = v },
            new Field<StorageOptions, string>(
                "location",
                "A bucket of an S3-compatible store, which several servers may share: s3://BUCKET or s3://BUCKET/PREFIX.",
                Kinds.Checked("BUCKET", _ => null),
                o => o.Location,
                (o, v) => o with { Location = v }
            )
            {
                Flag = new("--storage"),
            },
            new Field<StorageOptions, string>(
                "endpoint",
                "Where the bucket is, if not at Amazon, for example https://s3.example.org.",
                Kinds.Checked("URL", _ => null),
                o => o.Endpoint,
                (o, v) => o with { Endpoint = v }
            )
            {
                Flag = new("--s3-endpoint"),
            },
            new Field<StorageOptions, string>(
                "region",
                "The bucket's region.",
                Kinds.Text,
                o => o.Region,
                (o, v) => o with { Region = v }
            )
            {
                Flag = new("--s3-region"),
            },
            new Field<StorageOptions, BucketAddressing>(
                "addressing",
                "Where the bucket's name stands: in the path, in the host, or (auto) in the path where there is an endpoint.",
                Kinds.Choice(
                    ("auto", BucketAddressing.Auto),
                    ("path", BucketAddressing.Path),
                    ("host", BucketAddressing.Host)
                ),
                o => o.Addressing,
                (o, v) => o with { Addressing = v }
            )
            {
                Flag = new("--s3-addressing"),
            },
            new Field<StorageOptions, string>(
                "credentials-file",
                "A file as ~/.aws/credentials; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY work too.",
                Kinds.File,
                o => o.CredentialsFile,
                (o, v) => o with { CredentialsFile = v }
            )
            {
                Flag = new("--s3-credentials-file"),
            },
            new Field<StorageOptions, bool>(
                "redirect",
                "Send clients to the bucket for blobs, with addresses that open one blob for minutes.",
                Kinds.Switch,
                o => o.Redirect,
                (o, v) => o with { Redirect = v }
            )
            {
                Flag = new("--s3-redirect"),
            }
        );
}
