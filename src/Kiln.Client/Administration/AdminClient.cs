using System.Net.Http.Headers;
using System.Runtime.CompilerServices;
using System.Text.Json;
using Kiln.Client.Registry;
using Kiln.Client.Transport;
using Kiln.Oci;

namespace Kiln.Client.Administration;

/// <summary>
/// Manages a Kiln registry: its machine tokens, its garbage, its quotas; as the server's own user over loopback, or as somebody with the
/// <c>admin</c> right. Errors are <see cref="RegistryException"/>.
/// </summary>
public sealed class AdminClient(RegistryClient registry)
{
    private const string Tokens = "/admin/v1/tokens";
    private const string Garbage = "/admin/v1/gc";
    private const int MaxAnswerBytes = 16 << 20;

    private readonly RegistryTransport _transport = registry.Transport;

    /// <summary>Makes a token; the answer has its secret, which cannot be had again.</summary>
    public async Task<TokenView> IssueAsync(string host, TokenRequest request, CancellationToken cancel)
    {
        var body = JsonSerializer.SerializeToUtf8Bytes(request, AdminJson.Default.TokenRequest);
        var call = CallOf(host, HttpMethod.Post, Tokens, $"issuing a token at {host}") with
        {
            Content = _ => new ByteArrayContent(body)
            {
                Headers = { ContentType = new MediaTypeHeaderValue(MediaTypes.Json) },
            },
            Repeatable = false,
        };
        var answer = await ReadAsync(call, cancel);
        return Parse(answer, AdminJson.Default.TokenView, call);
    }

    /// <summary>All tokens, expired ones too.</summary>
    public async Task<IReadOnlyList<TokenView>> ListAsync(string host, CancellationToken cancel)
    {
        var call = CallOf(host, HttpMethod.Get, Tokens, $"listing the tokens of {host}");
        return Parse(await ReadAsync(call, cancel), AdminJson.Default.TokenList, call).Tokens;
    }

    /// <summary>Ends a token at once.</summary>
    /// <param name="name">Its name or its id.</param>
    public async Task RevokeAsync(string host, string name, CancellationToken cancel)
    {
        var target = $"{Tokens}/{Uri.EscapeDataString(name)}";
        using var response = await _transport.SendAsync(
            CallOf(host, HttpMethod.Delete, target, $"revoking the token {name} of {host}"),
            cancel
        );
    }

    /// <summary>Collects garbage, or says what a collection would do; each line comes as the registry writes it.</summary>
    public async IAsyncEnumerable<CollectionLine> CollectAsync(
        string host,
        bool dryRun,
        [EnumeratorCancellation] CancellationToken cancel
    )
    {
        var call = CallOf(
            host,
            HttpMethod.Post,
            dryRun ? $"{Garbage}?dry-run=1" : Garbage,
            $"collecting at {host}"
        ) with
        {
            Repeatable = false,
        };
        using var response = await _transport.SendAsync(call, cancel);
        await using var body = await _transport.OpenBodyAsync(response, cancel);
        using var lines = new StreamReader(body);
        while (await lines.ReadLineAsync(cancel) is { } line)
        {
            yield return Parse(System.Text.Encoding.UTF8.GetBytes(line), AdminJson.Default.CollectionLine, call);
        }
    }

    /// <summary>How far quotas are used.</summary>
    public async Task<IReadOnlyList<QuotaView>> QuotasAsync(string host, CancellationToken cancel)
    {
        var call = CallOf(host, HttpMethod.Get, "/admin/v1/quotas", $"asking {host} for its quotas");
        return Parse(await ReadAsync(call, cancel), AdminJson.Default.QuotaList, call).Quotas;
    }

    private static Call CallOf(string host, HttpMethod method, string target, string action) =>
        new()
        {
            Method = method,
            Target = target,
            Host = host,
            Action = action,
        };

    private async Task<byte[]> ReadAsync(Call call, CancellationToken cancel)
    {
        var (response, body) = await _transport.SendAndReadAsync(call, MaxAnswerBytes, cancel);
        response.Dispose();
        return body;
    }

    private static T Parse<T>(byte[] body, System.Text.Json.Serialization.Metadata.JsonTypeInfo<T> type, Call call)
        where T : class
    {
        try
        {
            return JsonSerializer.Deserialize(body, type) ?? throw new JsonException("it is null");
        }
        catch (JsonException e)
        {
            throw new RegistryException(
                RegistryFault.Broken,
                call.Action,
                $"the answer cannot be read: {e.Message}",
                e
            );
        }
    }
}
