using System.Text.Json;
using System.Text.Json.Nodes;
using Kiln.Oci;
using Kiln.Server.Access.Guard;
using Kiln.Server.Front;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace Kiln.Server.Http;

/// <summary>Which extensions there are: those of the registry behind, and the one that this server adds.</summary>
internal sealed class FrontDiscovery(PassThrough wire)
{
    private const int MaxBytes = 1 << 20;

    public void Map(V2Router router) =>
        router
            .Map("GET", "_oci/ext/discover", Need.Nothing, Discover)
            .Map("GET", "{name}/_oci/ext/discover", Need.Nothing, Discover);

    private async Task Discover(V2Context context)
    {
        var path = context.Http.Features.Get<IHttpRequestFeature>()!.RawTarget;
        using var answer = await wire.AskAsync(
            context.Http,
            HttpMethod.Get,
            path.StartsWith('/') ? path : context.Request.Path,
            context.Request.Headers.Authorization.ToString() is { Length: > 0 } header ? header : null
        );
        var status = (int)answer.StatusCode;
        if (status is 401 or 403 or 429 or >= 500)
        {
            // Its own words, whatever they are.
            await wire.AnswerAsync(context.Http);
            return;
        }

        await context.WriteJsonAsync(
            status == StatusCodes.Status200OK ? await MergeAsync(answer, context.Cancel) : DiscoveryEndpoints.InFront
        );
    }

    private static async Task<byte[]> MergeAsync(HttpResponseMessage answer, CancellationToken cancel)
    {
        try
        {
            await answer.Content.LoadIntoBufferAsync(MaxBytes, cancel);
            var theirs = JsonNode.Parse(await answer.Content.ReadAsByteArrayAsync(cancel));
            var own = JsonNode.Parse(DiscoveryEndpoints.InFront)!["extensions"]!.AsArray();
            if (theirs is not JsonObject list || list["extensions"] is not JsonArray extensions)
            {
                return DiscoveryEndpoints.InFront;
            }

            foreach (var entry in own)
            {
                var same = extensions.FirstOrDefault(e => Name(e) == Name(entry));
                if (same is not null && Name(entry) != DiscoveryEndpoints.Build)
                {
                    continue;
                }

                // The endpoints of builds are here, also where the registry behind builds as well.
                extensions.Remove(same);
                extensions.Add(entry!.DeepClone());
            }

            return System.Text.Encoding.UTF8.GetBytes(list.ToJsonString());
        }
        catch (Exception e) when (e is JsonException or HttpRequestException or InvalidOperationException)
        {
            return DiscoveryEndpoints.InFront;
        }
    }

    private static string? Name(JsonNode? entry) =>
        entry is JsonObject && entry["name"] is JsonValue value && value.TryGetValue<string>(out var name)
            ? name
            : null;
}
