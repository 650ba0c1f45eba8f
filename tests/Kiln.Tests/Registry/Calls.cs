using System.Net;
using System.Net.Http.Headers;
using System.Text.Json;
using System.Text.Json.Nodes;
using Kiln.Oci;

namespace Kiln.Tests.Registry;

/// <summary>What clients do, in one word each.</summary>
internal static class Calls
{
    public static async Task<HttpResponseMessage> SendAsync(
        this HttpClient http,
        string method,
        string path,
        byte[]? body = null,
        string? contentType = null,
        params (string Name, string Value)[] headers
    )
    {
        using var request = new HttpRequestMessage(new HttpMethod(method), path);
        if (body is not null)
        {
            request.Content = new ByteArrayContent(body);
            if (!string.IsNullOrEmpty(contentType))
            {
                request.Content.Headers.ContentType = MediaTypeHeaderValue.Parse(contentType);
            }
        }

        foreach (var (name, value) in headers)
        {
            if (!request.Headers.TryAddWithoutValidation(name, value))
            {
                request.Content ??= new ByteArrayContent([]);
                request.Content.Headers.TryAddWithoutValidation(name, value);
            }
        }

        return await http.SendAsync(request);
    }

    /// <summary>Opens an upload and returns its location.</summary>
    public static async Task<string> StartUploadAsync(this HttpClient http, string repository, string query = "")
    {
        using var response = await http.SendAsync("POST", $"{repository}/blobs/uploads/{query}");
        Assert.Equal(HttpStatusCode.Accepted, response.StatusCode);
        return response.Headers.Location!.ToString();
    }

    public static Task<HttpResponseMessage> PutUploadAsync(
        this HttpClient http,
        string location,
        Digest digest,
        byte[] body
    ) =>
        http.SendAsync(
            "PUT",
            $"{location}{(location.Contains('?', StringComparison.Ordinal) ? '&' : '?')}digest={digest}",
            body,
            MediaTypes.OctetStream
        );

    /// <summary>Pushes a blob and returns its digest.</summary>
    public static async Task<Digest> PushBlobAsync(
        this HttpClient http,
        string repository,
        byte[] content,
        string algorithm = Digest.Sha256
    )
    {
        var digest = Digest.Of(content, algorithm);
        using var response = await http.PutUploadAsync(await http.StartUploadAsync(repository), digest, content);
        Assert.Equal(HttpStatusCode.Created, response.StatusCode);
        return digest;
    }

    public static Task<HttpResponseMessage> PutManifestAsync(
        this HttpClient http,
        string repository,
        string reference,
        byte[] content,
        string contentType = MediaTypes.OciManifest
    ) => http.SendAsync("PUT", $"{repository}/manifests/{reference}", content, contentType);

    /// <summary>Pushes a manifest by tag or digest, with the empty config, and returns its descriptor.</summary>
    public static async Task<JsonObject> PushAsync(
        this HttpClient http,
        string repository,
        JsonObject manifest,
        string? reference = null
    )
    {
        var mediaType = (string)manifest["mediaType"]!;
        if (mediaType == MediaTypes.OciManifest)
        {
            await http.PushBlobAsync(repository, Samples.EmptyJson);
        }

        var content = manifest.Encode();
        var digest = Digest.Of(content);
        using var response = await http.PutManifestAsync(
            repository,
            reference ?? digest.ToString(),
            content,
            mediaType
        );
        Assert.Equal(HttpStatusCode.Created, response.StatusCode);
        return Samples.Descriptor(content, mediaType);
    }

    public static async Task<JsonNode> GetJsonAsync(this HttpClient http, string path)
    {
        using var response = await http.GetAsync(path);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        return JsonNode.Parse(await response.Content.ReadAsStringAsync())!;
    }

    public static async Task<string[]> TagsAsync(this HttpClient http, string repository, string query = "") =>
        [.. (await http.GetJsonAsync($"{repository}/tags/list{query}"))["tags"]!.AsArray().Select(t => (string)t!)];

    public static async Task<HttpStatusCode> StatusAsync(this HttpClient http, string method, string path)
    {
        using var response = await http.SendAsync(method, path);
        return response.StatusCode;
    }

    public static string? Header(this HttpResponseMessage response, string name) =>
        response.Headers.TryGetValues(name, out var values) || response.Content.Headers.TryGetValues(name, out values)
            ? string.Join(", ", values)
            : null;

    /// <summary>Expects an error in the OCI envelope with a sentence in it.</summary>
    public static async Task<string> ShouldFailAsync(this HttpResponseMessage response, int status, string code)
    {
        var body = await response.Content.ReadAsStringAsync();
        Assert.True(status == (int)response.StatusCode, $"{(int)response.StatusCode} instead of {status}: {body}");
        Assert.Equal("application/json", response.Header("Content-Type"));
        using var json = JsonDocument.Parse(body);
        var error = Assert.Single(json.RootElement.GetProperty("errors").EnumerateArray());
        Assert.Equal(code, error.GetProperty("code").GetString());
        var message = error.GetProperty("message").GetString()!;
        Assert.True(message.Length > 10, body);
        return message;
    }
}
