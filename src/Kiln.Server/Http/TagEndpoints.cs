using System.Text.Json;
using Kiln.Oci;
using Kiln.Server.Access.Guard;
using Kiln.Server.Registry;
using Kiln.Server.Registry.Upstreams;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Http;

/// <summary>Listing tags (distribution-spec, "Listing Tags"): end-8.</summary>
internal sealed class TagEndpoints(Tags tags, UpstreamTable upstreams, CachedLists cache)
{
    public void Map(V2Router router) => router.Map("GET", "{name}/tags/list", Need.Pull, List);

    private async Task List(V2Context context)
    {
        var asked = context.PageSize();
        var limit = Math.Min(asked ?? V2Context.MaxPage, V2Context.MaxPage);
        var page =
            await PageAsync(context, context.Query("last"), limit)
            ?? throw new OciException(ErrorCodes.NameUnknown, $"there is no repository {context.Repository}");
        if (asked is null && page.More)
        {
            await StreamAsync(context, page);
            return;
        }

        // "If … the value of n is zero, this endpoint MUST return an empty list and MUST NOT include a Link header."
        if (page.More && page.Items.Count > 0)
        {
            context.SetNext($"/v2/{context.Repository}/tags/list", ("n", $"{asked}"), ("last", page.Items[^1]));
        }

        var list = new TagList(context.Repository.Value, page.Items);
        await context.WriteJsonAsync(JsonSerializer.SerializeToUtf8Bytes(list, OciJson.Default.TagList));
    }

    private async Task<Page<string>?> PageAsync(V2Context context, string? last, int limit)
    {
        if (upstreams.Of(context.Repository) is not { } upstream)
        {
            return tags.List(context.Repository, last, limit);
        }

        if (await cache.TagsAsync(upstream, context.Repository, context.Cancel) is not { } list)
        {
            return null;
        }

        context.Response.Headers.Warning = list.Warning;
        return Page<string>.Of(
            limit,
            [.. list.Items.SkipWhile(tag => string.CompareOrdinal(tag, last ?? "") <= 0).Take(limit + 1)]
        );
    }

    // Who names no n gets every tag in one answer, since many clients follow no Link; but not from memory.
    private async Task StreamAsync(V2Context context, Page<string> page)
    {
        context.Response.ContentType = MediaTypes.Json;
        if (context.IsHead)
        {
            return;
        }

        var body = context.Response.BodyWriter;
        await using var json = new Utf8JsonWriter(body);
        json.WriteStartObject();
        json.WriteString("name", context.Repository.Value);
        json.WriteStartArray("tags");
        for (var next = page; next is { Items: [.., var last] }; )
        {
            foreach (var tag in next.Items)
            {
                json.WriteStringValue(tag);
            }

            json.Flush();
            await body.FlushAsync(context.Cancel);
            next = next.More ? await PageAsync(context, last, V2Context.MaxPage) : null;
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }
}
