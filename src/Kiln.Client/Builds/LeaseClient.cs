using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using System.Text.RegularExpressions;
using Kiln.BuildSpec;
using Kiln.Client.Registry;
using Kiln.Client.Transport;
using Kiln.Oci;

namespace Kiln.Client.Builds;

/// <summary>What became of a piece of log.</summary>
/// <param name="Received">Bytes that the registry has of this lease: where the next piece begins.</param>
/// <param name="Took">False where the piece was not the next one.</param>
/// <param name="Full">The registry takes no more of this log.</param>
public sealed record LogPiece(long Received, bool Took, bool Full);

/// <summary>
/// The lease protocol over HTTP, as a build node speaks it. For claims the client's credentials are the node's, for all
/// else the lease's.
/// </summary>
public sealed partial class LeaseClient(RegistryClient registry)
{
    private const int MaxAnswerBytes = 16 << 20;
    private readonly RegistryTransport _transport = registry.Transport;

    /// <summary>Asks for work; null where there is none.</summary>
    /// <param name="host">The registry.</param>
    /// <param name="claim">What the node can build.</param>
    /// <param name="wait">How long the registry may wait for work to come, in whole seconds.</param>
    /// <param name="key">The same for each try of this claim, and another for the next.</param>
    /// <param name="cancel">Ends it.</param>
    public async Task<Lease?> ClaimAsync(
        string host,
        LeaseClaim claim,
        TimeSpan wait,
        string key,
        CancellationToken cancel
    )
    {
        var body = JsonSerializer.SerializeToUtf8Bytes(claim, BuildJson.Default.LeaseClaim);
        var call = new Call
        {
            Method = HttpMethod.Post,
            Target = "/v2/_build/v1/leases",
            Host = host,
            Action = $"asking {host} for work",
            Headers =
            [
                ("Prefer", string.Create(CultureInfo.InvariantCulture, $"wait={(int)wait.TotalSeconds}")),
                ("Idempotency-Key", key),
            ],
            Content = _ => Json(body),
        };
        var (response, answer) = await _transport.SendAndReadAsync(call, MaxAnswerBytes, cancel);
        if (response.StatusCode == HttpStatusCode.NoContent)
        {
            return null;
        }

        var lease = Read(answer, BuildJson.Default.Lease, call);
        // Nodes call folders and jobs by it.
        return LeaseId().IsMatch(lease.Id)
            ? lease
            : throw new RegistryException(
                RegistryFault.Broken,
                call.Action,
                "what it gave is no id of a lease: that is up to 128 letters, digits and . _ -, the first no dot"
            );
    }

    public async Task<LeaseHeartbeatReply> HeartbeatAsync(
        string host,
        Lease lease,
        LeaseHeartbeat beat,
        CancellationToken cancel
    )
    {
        var body = JsonSerializer.SerializeToUtf8Bytes(beat, BuildJson.Default.LeaseHeartbeat);
        var call = CallOf(host, lease, HttpMethod.Patch, "", "extending") with { Content = _ => Json(body) };
        var (_, answer) = await _transport.SendAndReadAsync(call, MaxAnswerBytes, cancel);
        return Read(answer, BuildJson.Default.LeaseHeartbeatReply, call);
    }

    /// <summary>Sends the piece of log that begins at byte <paramref name="start"/> of this lease.</summary>
    public async Task<LogPiece> AppendLogAsync(
        string host,
        Lease lease,
        long start,
        ReadOnlyMemory<byte> text,
        CancellationToken cancel
    )
    {
        var range = string.Create(CultureInfo.InvariantCulture, $"{start}-{start + text.Length - 1}");
        var call = CallOf(host, lease, HttpMethod.Patch, "/log", "sending the log of") with
        {
            Content = _ => Text(text, range),
            Expected = [413, 416],
        };
        using var response = await _transport.SendAsync(call, cancel);
        var status = (int)response.StatusCode;
        return new LogPiece(Received(response), status != 416, status == 413);
    }

    /// <summary>Bytes of log that the registry has of this lease.</summary>
    public async Task<long> ReceivedAsync(string host, Lease lease, CancellationToken cancel)
    {
        using var response = await _transport.SendAsync(
            CallOf(host, lease, HttpMethod.Get, "/log", "asking for the log of"),
            cancel
        );
        return Received(response);
    }

    /// <summary>Ends the lease with a result.</summary>
    public async Task<LeaseResultReply> CompleteAsync(
        string host,
        Lease lease,
        LeaseResult result,
        CancellationToken cancel
    )
    {
        var body = JsonSerializer.SerializeToUtf8Bytes(result, BuildJson.Default.LeaseResult);
        var call = CallOf(host, lease, HttpMethod.Put, "/result", "ending") with { Content = _ => Json(body) };
        var (_, answer) = await _transport.SendAndReadAsync(call, MaxAnswerBytes, cancel);
        return Read(answer, BuildJson.Default.LeaseResultReply, call);
    }

    public async Task GiveBackAsync(string host, Lease lease, CancellationToken cancel)
    {
        using var response = await _transport.SendAsync(
            CallOf(host, lease, HttpMethod.Delete, "", "giving back"),
            cancel
        );
    }

    private static Call CallOf(string host, Lease lease, HttpMethod method, string below, string doing) =>
        new()
        {
            Method = method,
            Target = $"{lease.Job}/leases/{lease.Id}{below}",
            Host = host,
            Action = $"{doing} lease {lease.Id}",
            Headers = [("Accept", MediaTypes.Json)],
        };

    // "Range: 0-LAST"; absent where nothing came.
    private static long Received(HttpResponseMessage response)
    {
        var range =
            response.Headers.TryGetValues("Range", out var own) ? own.First()
            : response.Content.Headers.TryGetValues("Range", out var other) ? other.First()
            : "";
        var dash = range.LastIndexOf('-');
        return
            dash >= 0
            && long.TryParse(range.AsSpan(dash + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var last)
            ? last + 1
            : 0;
    }

    [GeneratedRegex(@"\A[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}\z", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex LeaseId();

    private static ByteArrayContent Json(byte[] body) =>
        new(body) { Headers = { ContentType = new MediaTypeHeaderValue(MediaTypes.Json) } };

    private static ReadOnlyMemoryContent Text(ReadOnlyMemory<byte> text, string range)
    {
        var content = new ReadOnlyMemoryContent(text);
        content.Headers.ContentType = new MediaTypeHeaderValue("text/plain");
        content.Headers.TryAddWithoutValidation("Content-Range", range);
        return content;
    }

    private static T Read<T>(byte[] body, JsonTypeInfo<T> type, Call call)
    {
        try
        {
            return JsonSerializer.Deserialize(body, type) ?? throw new JsonException("null");
        }
        catch (JsonException e)
        {
            throw new RegistryException(
                RegistryFault.Broken,
                call.Action,
                $"the answer is not understood: {e.Message}",
                e
            );
        }
    }
}
