using System.Globalization;
using Kiln.Client;
using Kiln.Client.Builds;
using Kiln.Client.Registry;
using Kiln.Oci;
using Microsoft.AspNetCore.Http;

namespace Kiln.Tests.Client;

/// <summary>Lists in pages, of every kind, from registries that do not end them.</summary>
public sealed class ListPagesTests
{
    private const int MaxPages = 12;

    public static TheoryData<string> Lists => ["tags", "catalog", "referrers", "jobs"];

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [MemberData(nameof(Lists))]
    public async Task A_list_without_an_end_is_an_error(string list)
    {
        await using var registry = await TestRegistry.StartAsync();
        registry.Intercept = http =>
        {
            var page = int.TryParse(http.Request.Query["page"], CultureInfo.InvariantCulture, out var at) ? at : 0;
            return PageAsync(http, $"{http.Request.Path}?page={page + 1}");
        };

        var e = await Assert.ThrowsAsync<RegistryException>(() => ListAsync(registry, list));

        Assert.Equal(RegistryFault.Broken, e.Fault);
        Assert.Contains("longer than 12 pages", e.Message, StringComparison.Ordinal);
        Assert.Equal(MaxPages, registry.Requests.Count);
    }

    [Theory]
    [MemberData(nameof(Lists))]
    public async Task A_list_that_leads_in_a_circle_is_an_error(string list)
    {
        await using var registry = await TestRegistry.StartAsync();
        registry.Intercept = http =>
            PageAsync(
                http,
                http.Request.Query["page"] == "1" ? $"{http.Request.Path}?page=2" : $"{http.Request.Path}?page=1"
            );

        var e = await Assert.ThrowsAsync<RegistryException>(() => ListAsync(registry, list));

        Assert.Equal(RegistryFault.Broken, e.Fault);
        Assert.Contains("in a circle", e.Message, StringComparison.Ordinal);
        Assert.Equal(3, registry.Requests.Count);
    }

    [Theory]
    [InlineData("ftp://elsewhere.invalid/list")]
    [InlineData("http://[")]
    public async Task A_link_that_is_none_is_an_error(string link)
    {
        await using var registry = await TestRegistry.StartAsync();
        registry.Intercept = http => PageAsync(http, link);

        var e = await Assert.ThrowsAsync<RegistryException>(() => ListAsync(registry, "tags"));

        Assert.Contains("no address", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("?last=x")]
    [InlineData("list?last=x")]
    [InlineData("/v2/a/tags/list?last=x")]
    [InlineData("http://{host}/v2/a/tags/list?last=x")]
    public async Task A_link_may_be_relative(string link)
    {
        await using var registry = await TestRegistry.StartAsync();
        registry.Intercept = http =>
            PageAsync(
                http,
                http.Request.Query.ContainsKey("last")
                    ? null
                    : link.Replace("{host}", registry.Host, StringComparison.Ordinal)
            );

        await ListAsync(registry, "tags");

        Assert.Equal(["GET /v2/a/tags/list", "GET /v2/a/tags/list?last=x"], registry.Requests);
    }

    private static async Task<bool> PageAsync(HttpContext http, string? next)
    {
        if (next is not null)
        {
            http.Response.Headers.Link = $"<{next}>; rel=\"next\"";
        }

        http.Response.ContentType = MediaTypes.OciIndex;
        await http.Response.WriteAsync(
            $$"""{"schemaVersion":2,"mediaType":"{{MediaTypes.OciIndex}}","manifests":[],"tags":["a"],"repositories":["a"],"jobs":[]}"""
        );
        return true;
    }

    private static async Task ListAsync(TestRegistry registry, string list)
    {
        using var client = registry.Client(o => o with { MaxListPages = MaxPages });
        var repository = registry.Repository("a");
        switch (list)
        {
            case "tags":
                await client.ListTagsAsync(repository, Cancel);
                break;
            case "catalog":
                await client.ListRepositoriesAsync(registry.Host, Cancel);
                break;
            case "referrers":
                await client.ListReferrersAsync(repository, Digest.EmptyJson, null, Cancel);
                break;
            default:
                await new BuildClient(client).ListAsync(repository, null, 1000, Cancel);
                break;
        }
    }
}
