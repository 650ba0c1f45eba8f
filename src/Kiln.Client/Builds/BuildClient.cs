using System.Net;
using System.Net.Http.Headers;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Products;
using Kiln.Client.Registry;
using Kiln.Client.Transport;
using Kiln.Oci;

namespace Kiln.Client.Builds;

/// <summary>A client of the <c>_build</c> extension. Errors are <see cref="RegistryException"/>, as in <see cref="RegistryClient"/>.</summary>
public sealed partial class BuildClient(RegistryClient registry)
{
    private const int MaxAnswerBytes = 16 << 20;

    /// <summary>The largest secret that is sent, in bytes; a registry may allow less.</summary>
    public const int MaxSecretBytes = 1 << 20;

    private readonly RegistryTransport _transport = registry.Transport;

    /// <summary>What a registry, or one of its repositories, builds; null where it has no such extension.</summary>
    public async Task<BuildInfo?> FindInfoAsync(string host, RepositoryName? repository, CancellationToken cancel)
    {
        var call = new Call
        {
            Method = HttpMethod.Get,
            Target = repository is null ? "/v2/_build/v1/info" : $"/v2/{repository}/_build/v1/info",
            Host = host,
            Repository = repository,
            Action = $"asking {host} what it builds",
            Headers = [("Accept", $"{BuildMediaTypes.Info}, {MediaTypes.Json}")],
        };
        try
        {
            return await ReadAsync(call, BuildJson.Default.BuildInfo, cancel);
        }
        catch (RegistryException e) when (e.Fault == RegistryFault.NotFound)
        {
            // Any 404 means that there is no extension (build-extension, "Errors").
            return null;
        }
    }

    /// <summary>Asks for a build.</summary>
    public async Task<Job> CreateAsync(RemoteRepository repository, JobRequest request, CancellationToken cancel)
    {
        var body = JsonSerializer.SerializeToUtf8Bytes(request, BuildJson.Default.JobRequest);
        var call = CallOf(repository, HttpMethod.Post, "jobs", $"asking for a build in {repository}") with
        {
            Rights = "pull,push,build",
            Content = _ => Bytes(body, BuildMediaTypes.Request),
            // The answer may be lost after the job was made.
            Repeatable = false,
        };
        return await ReadAsync(call, BuildJson.Default.Job, cancel);
    }

    /// <summary>A job as it is now, or after it ended or <paramref name="wait"/> passed, whichever is first.</summary>
    public Task<Job> GetAsync(JobAddress job, TimeSpan wait, CancellationToken cancel)
    {
        var call = CallOf(job, HttpMethod.Get, "", $"asking for job {job.Id} of {job.Repository}");
        return ReadAsync(
            wait > TimeSpan.Zero
                ? call with
                {
                    Headers = [.. call.Headers, ("Prefer", $"wait={(int)wait.TotalSeconds}")],
                }
                : call,
            BuildJson.Default.Job,
            cancel
        );
    }

    /// <summary>A job as soon as it is another than at a revision; null where it stays the same for <paramref name="wait"/>.</summary>
    public async Task<Job?> FindNewerAsync(JobAddress job, int revision, TimeSpan wait, CancellationToken cancel)
    {
        var call = CallOf(job, HttpMethod.Get, "", $"asking for job {job.Id} of {job.Repository}");
        call = call with
        {
            Headers =
            [
                .. call.Headers,
                ("Prefer", $"wait={(int)wait.TotalSeconds}"),
                ("If-None-Match", $"W/\"{revision}\""),
            ],
            Expected = [304],
        };
        var (response, body) = await _transport.SendAndReadAsync(call, MaxAnswerBytes, cancel);
        return response.StatusCode == HttpStatusCode.NotModified
            ? null
            : Parse(body, BuildJson.Default.Job, call.Action);
    }

    /// <summary>Jobs of a repository, newest first, at most <paramref name="limit"/>.</summary>
    /// <param name="repository">Whose jobs.</param>
    /// <param name="state">Only those in this state; null for all.</param>
    /// <param name="limit">How many at most.</param>
    /// <param name="cancel">Ends it.</param>
    public async Task<IReadOnlyList<Job>> ListAsync(
        RemoteRepository repository,
        string? state,
        int limit,
        CancellationToken cancel
    )
    {
        var jobs = new List<Job>();
        var filter = state is null ? "" : $"&state={Uri.EscapeDataString(state)}";
        var call = CallOf(
            repository,
            HttpMethod.Get,
            $"jobs?n={Math.Min(limit, 100)}{filter}",
            $"listing the jobs of {repository}"
        );
        await foreach (var page in ListPages.ReadAsync(_transport, call, cancel))
        {
            jobs.AddRange(Parse(page.Body, BuildJson.Default.JobList, page.Action).Jobs);
            if (jobs.Count >= limit)
            {
                break;
            }
        }

        return jobs.Count <= limit ? jobs : jobs[..limit];
    }

    /// <summary>Asks for the job to be cancelled. Doing it twice, or after its end, is no error.</summary>
    public Task<Job> CancelAsync(JobAddress job, CancellationToken cancel) =>
        ReadAsync(
            CallOf(job, HttpMethod.Delete, "", $"cancelling job {job.Id} of {job.Repository}") with
            {
                Rights = "pull,push,build",
            },
            BuildJson.Default.Job,
            cancel
        );

    /// <summary>Uploads a secret for one job; it cannot be read back.</summary>
    public async Task<SecretReceipt> UploadSecretAsync(
        RemoteRepository repository,
        ReadOnlyMemory<byte> value,
        CancellationToken cancel
    )
    {
        var call = CallOf(repository, HttpMethod.Post, "secrets", $"uploading a secret to {repository}") with
        {
            Rights = "pull,push,build",
            Content = _ => new ReadOnlyMemoryContent(value)
            {
                Headers = { ContentType = new MediaTypeHeaderValue(MediaTypes.OctetStream) },
            },
        };
        return await ReadAsync(call, BuildJson.Default.SecretReceipt, cancel);
    }

    /// <summary>
    /// What a registry knows an image to be good for; null where it has measured nothing, or has no such extension.
    /// </summary>
    public async Task<HintsDocument?> FindHintsAsync(
        RemoteRepository repository,
        Digest image,
        CancellationToken cancel
    )
    {
        var call = CallOf(
            repository,
            HttpMethod.Get,
            $"hints?digest={image}",
            $"asking what {repository}@{image} is good for"
        ) with
        {
            Expected = [404],
        };
        var (response, body) = await _transport.SendAndReadAsync(call, MaxAnswerBytes, cancel);
        return response.StatusCode == HttpStatusCode.NotFound
            ? null
            : Parse(body, BuildJson.Default.HintsDocument, call.Action);
    }

    /// <summary>Has a registry measure an image, and attach what it found.</summary>
    /// <returns>False while it is still reading.</returns>
    public async Task<bool> AttachHintsAsync(
        RemoteRepository repository,
        Digest image,
        TimeSpan wait,
        CancellationToken cancel
    )
    {
        var call = CallOf(
            repository,
            HttpMethod.Post,
            $"hints?digest={image}",
            $"having {repository}@{image} measured"
        ) with
        {
            Rights = "pull,push",
            Headers = [("Accept", MediaTypes.Json), ("Prefer", $"wait={(int)wait.TotalSeconds}")],
        };
        using var response = await _transport.SendAsync(call, cancel);
        return response.StatusCode != HttpStatusCode.Accepted;
    }

    private static Call CallOf(RemoteRepository repository, HttpMethod method, string target, string action) =>
        new()
        {
            Method = method,
            Target =
                target.StartsWith('/') || target.Contains("://", StringComparison.Ordinal)
                    ? target
                    : $"/v2/{repository.Name}/_build/v1/{target}",
            Host = repository.Host,
            Repository = repository.Name,
            Action = action,
            Headers = [("Accept", MediaTypes.Json)],
        };

    private static Call CallOf(JobAddress job, HttpMethod method, string below, string action) =>
        CallOf(job.Repository, method, job.Path + below, action);

    private static ByteArrayContent Bytes(byte[] body, string mediaType) =>
        new(body) { Headers = { ContentType = new MediaTypeHeaderValue(mediaType) } };

    private async Task<T> ReadAsync<T>(Call call, JsonTypeInfo<T> type, CancellationToken cancel)
    {
        var (_, body) = await _transport.SendAndReadAsync(call, MaxAnswerBytes, cancel);
        return Parse(body, type, call.Action);
    }

    private static T Parse<T>(byte[] body, JsonTypeInfo<T> type, string action)
    {
        try
        {
            return JsonSerializer.Deserialize(body, type) ?? throw new JsonException("null");
        }
        catch (JsonException e)
        {
            throw new RegistryException(RegistryFault.Broken, action, $"the answer is not understood: {e.Message}", e);
        }
    }
}
