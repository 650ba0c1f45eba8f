using System.Net;
using System.Runtime.CompilerServices;
using Amazon.Runtime;
using Amazon.S3;
using Amazon.S3.Model;
using Kiln.Oci;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Storage.S3;

/// <summary>
/// The few words of S3 that the store needs, all of which Ceph, MinIO and their like know. What the bucket refuses or does
/// not answer is 503 for clients and a line in the log.
/// </summary>
internal sealed partial class S3Bucket : IDisposable
{
    private static readonly TimeSpan LinkLifetime = TimeSpan.FromMinutes(15);

    private readonly AmazonS3Client _client;
    private readonly string _bucket;
    private readonly string _prefix;
    private readonly TimeProvider _time;
    private readonly ILogger _log;

    // Whether the store can make parts out of objects by itself.
    private volatile bool _copiesParts = true;

    /// <exception cref="ServerStartException">There are no credentials, or an address is none.</exception>
    public S3Bucket(StorageOptions options, TimeProvider time, ILogger<S3Bucket> log)
    {
        (_time, _log) = (time, log);
        (_bucket, _prefix) =
            BucketName.TryParse(options.Location!)
            ?? throw new ServerStartException(
                $"--storage cannot be '{options.Location}': it is s3://BUCKET or s3://BUCKET/PREFIX"
            );
        var config = new AmazonS3Config
        {
            AuthenticationRegion = options.Region,
            ForcePathStyle =
                options.Addressing == BucketAddressing.Path
                || (options.Addressing == BucketAddressing.Auto && options.Endpoint is not null),
            // What newer Amazon SDKs add to every request, others' stores refuse.
            RequestChecksumCalculation = RequestChecksumCalculation.WHEN_REQUIRED,
            ResponseChecksumValidation = ResponseChecksumValidation.WHEN_REQUIRED,
            RetryMode = RequestRetryMode.Standard,
            MaxErrorRetry = 3,
        };
        if (options.Endpoint is { } endpoint)
        {
            config.ServiceURL =
                Uri.TryCreate(endpoint, UriKind.Absolute, out var uri) && uri.Scheme is "http" or "https"
                    ? endpoint
                    : throw new ServerStartException($"--s3-endpoint cannot be '{endpoint}': it is no http(s) address");
            IsPlain = uri.Scheme == "http";
        }
        else
        {
            config.RegionEndpoint = Amazon.RegionEndpoint.GetBySystemName(options.Region);
        }

        _client = new AmazonS3Client(
            S3Credentials.Read(options.CredentialsFile, Environment.GetEnvironmentVariable),
            config
        );
    }

    private bool IsPlain { get; }

    /// <summary>Finds out whether the bucket can be used.</summary>
    /// <exception cref="ServerStartException">It cannot; the message says why.</exception>
    public async Task CheckAsync(CancellationToken cancel)
    {
        try
        {
            // Where nothing is ever stored: whether there is a bucket, and whether we may, is all that is asked.
            var request = new ListObjectsV2Request { BucketName = _bucket, Prefix = Key("check/") };
            request.MaxKeys = 1;
            await _client.ListObjectsV2Async(request, cancel);
        }
        catch (Exception e) when (IsTrouble(e, cancel))
        {
            throw new ServerStartException($"cannot use the bucket {_bucket}: {Reason(e)}", e);
        }
    }

    public Task PutAsync(string key, ReadOnlyMemory<byte> content, CancellationToken cancel) =>
        TryAsync(
            () =>
                _client.PutObjectAsync(
                    new PutObjectRequest
                    {
                        BucketName = _bucket,
                        Key = Key(key),
                        InputStream = Over(content),
                        UseChunkEncoding = false,
                    },
                    cancel
                ),
            cancel
        );

    public Task<long?> SizeAsync(string key, CancellationToken cancel) =>
        TryAsync(
            async () =>
            {
                try
                {
                    return (long?)(await _client.GetObjectMetadataAsync(_bucket, Key(key), cancel)).ContentLength;
                }
                catch (AmazonS3Exception e) when (e.StatusCode == HttpStatusCode.NotFound)
                {
                    return null;
                }
            },
            cancel
        );

    /// <summary>Opens an object; null where there is none.</summary>
    public Task<Stream?> OpenAsync(string key, long offset, long length, CancellationToken cancel) =>
        TryAsync(
            async () =>
            {
                var request = new GetObjectRequest { BucketName = _bucket, Key = Key(key) };
                if (offset > 0 || length != long.MaxValue)
                {
                    var end = length > long.MaxValue - offset ? "" : $"{offset + length - 1}";
                    request.ByteRange = new Amazon.S3.Model.ByteRange($"bytes={offset}-{end}");
                }

                try
                {
                    return (Stream?)(await _client.GetObjectAsync(request, cancel)).ResponseStream;
                }
                catch (AmazonS3Exception e) when (e.StatusCode == HttpStatusCode.NotFound)
                {
                    return null;
                }
                catch (AmazonS3Exception e) when (e.StatusCode == HttpStatusCode.RequestedRangeNotSatisfiable)
                {
                    return Stream.Null;
                }
            },
            cancel
        );

    public Task CopyAsync(string from, string to, CancellationToken cancel) =>
        TryAsync(() => _client.CopyObjectAsync(_bucket, Key(from), _bucket, Key(to), cancel), cancel);

    /// <summary>Deletes an object; one that is not there is deleted.</summary>
    public Task DeleteAsync(string key, CancellationToken cancel) =>
        TryAsync(() => _client.DeleteObjectAsync(_bucket, Key(key), cancel), cancel);

    /// <summary>All objects whose keys begin so, with when each was last written and their sizes in bytes.</summary>
    public async IAsyncEnumerable<(string Key, DateTimeOffset Modified, long Size)> ListAsync(
        string prefix,
        [EnumeratorCancellation] CancellationToken cancel
    )
    {
        var request = new ListObjectsV2Request { BucketName = _bucket, Prefix = Key(prefix) };
        while (true)
        {
            var page = await TryAsync(() => _client.ListObjectsV2Async(request, cancel), cancel);
            foreach (var found in page.S3Objects ?? [])
            {
                yield return (
                    found.Key[_prefix.Length..],
                    found.LastModified is { } at ? new DateTimeOffset(at.ToUniversalTime()) : DateTimeOffset.MaxValue,
                    found.Size ?? 0
                );
            }

            if (page.IsTruncated != true)
            {
                yield break;
            }

            request.ContinuationToken = page.NextContinuationToken;
        }
    }

    /// <summary>Begins an object of several parts, which is not there before <see cref="CompleteAsync"/>.</summary>
    public Task<string> BeginAsync(string key, CancellationToken cancel) =>
        TryAsync(async () => (await _client.InitiateMultipartUploadAsync(_bucket, Key(key), cancel)).UploadId, cancel);

    public Task<PartETag> PartAsync(
        string key,
        string multipart,
        int number,
        ReadOnlyMemory<byte> content,
        CancellationToken cancel
    ) =>
        TryAsync(
            async () =>
            {
                var request = new UploadPartRequest
                {
                    BucketName = _bucket,
                    Key = Key(key),
                    UploadId = multipart,
                    PartNumber = number,
                    PartSize = content.Length,
                    InputStream = Over(content),
                    UseChunkEncoding = false,
                };
                return new PartETag(number, (await _client.UploadPartAsync(request, cancel)).ETag);
            },
            cancel
        );

    /// <summary>Makes an object a part, inside the store; null where the store cannot do that.</summary>
    public async Task<PartETag?> CopyPartAsync(
        string from,
        string key,
        string multipart,
        int number,
        CancellationToken cancel
    )
    {
        if (!_copiesParts)
        {
            return null;
        }

        return await TryAsync(
            async () =>
            {
                try
                {
                    var request = new CopyPartRequest
                    {
                        SourceBucket = _bucket,
                        SourceKey = Key(from),
                        DestinationBucket = _bucket,
                        DestinationKey = Key(key),
                        UploadId = multipart,
                        PartNumber = number,
                    };
                    return new PartETag(number, (await _client.CopyPartAsync(request, cancel)).ETag);
                }
                catch (AmazonS3Exception e) when (e.StatusCode == HttpStatusCode.NotImplemented)
                {
                    _copiesParts = false;
                    return null;
                }
            },
            cancel
        );
    }

    public Task CompleteAsync(string key, string multipart, List<PartETag> parts, CancellationToken cancel) =>
        TryAsync(
            () =>
                _client.CompleteMultipartUploadAsync(
                    new CompleteMultipartUploadRequest
                    {
                        BucketName = _bucket,
                        Key = Key(key),
                        UploadId = multipart,
                        PartETags = parts,
                    },
                    cancel
                ),
            cancel
        );

    /// <summary>Throws away the parts of what was begun. It may be complete or gone already.</summary>
    public async Task AbandonAsync(string key, string multipart, CancellationToken cancel)
    {
        try
        {
            await _client.AbortMultipartUploadAsync(_bucket, Key(key), multipart, cancel);
        }
        catch (AmazonS3Exception e) when (e.StatusCode == HttpStatusCode.NotFound)
        {
            // It is gone.
        }
        catch (Exception e) when (IsTrouble(e, cancel))
        {
            LogAbandoned(_log, key, Reason(e));
        }
    }

    /// <summary>An address that opens one object for some minutes.</summary>
    public Uri Link(string key) =>
        new(
            _client.GetPreSignedURL(
                new GetPreSignedUrlRequest
                {
                    BucketName = _bucket,
                    Key = Key(key),
                    Verb = HttpVerb.GET,
                    Protocol = IsPlain ? Protocol.HTTP : Protocol.HTTPS,
                    Expires = (_time.GetUtcNow() + LinkLifetime).UtcDateTime,
                }
            )
        );

    public void Dispose() => _client.Dispose();

    private string Key(string key) => _prefix + key;

    private static MemoryStream Over(ReadOnlyMemory<byte> content) =>
        System.Runtime.InteropServices.MemoryMarshal.TryGetArray(content, out var part)
            ? new MemoryStream(part.Array!, part.Offset, part.Count, writable: false)
            : new MemoryStream(content.ToArray(), writable: false);

    private async Task<T> TryAsync<T>(Func<Task<T>> call, CancellationToken cancel)
    {
        try
        {
            return await call();
        }
        catch (Exception e) when (IsTrouble(e, cancel))
        {
            LogTrouble(_log, _bucket, Reason(e));
            throw new OciException(
                ErrorCodes.Unavailable,
                "the registry's storage cannot be used now; try again in a few seconds"
            );
        }
    }

    private static bool IsTrouble(Exception e, CancellationToken cancel) =>
        e is AmazonServiceException or AmazonClientException or HttpRequestException or IOException
        || (e is OperationCanceledException && !cancel.IsCancellationRequested);

    // Neither keys nor signatures stand in it.
    private static string Reason(Exception e) =>
        e is AmazonS3Exception { ErrorCode.Length: > 0 } s3
            ? $"{s3.ErrorCode} ({(int)s3.StatusCode}): {s3.Message}"
            : e.Message;

    [LoggerMessage(Level = LogLevel.Error, Message = "the bucket {Bucket} cannot be used: {Reason}")]
    private static partial void LogTrouble(ILogger log, string bucket, string reason);

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "parts of {Key} stay in the bucket until its own rules remove them: {Reason}"
    )]
    private static partial void LogAbandoned(ILogger log, string key, string reason);
}
