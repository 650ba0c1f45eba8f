using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Tests.Inspect;

namespace Kiln.Tests.Builds;

/// <summary>A build node of plain requests, which can say what no proper node would.</summary>
internal sealed class WireNode(HttpClient http)
{
    private const string Offer =
        """{"node":"build03","platforms":["linux/amd64"],"recipes":["dockerfile"],"outputs":["oci"]}""";

    /// <summary>Sends with a lease's credential, or with whatever else stands in <c>Authorization</c>.</summary>
    public async Task<HttpResponseMessage> SendAsync(
        string? authorization,
        string method,
        string path,
        byte[]? body = null,
        string type = "application/json",
        params (string Name, string Value)[] headers
    )
    {
        using var request = new HttpRequestMessage(new HttpMethod(method), path);
        if (authorization is not null)
        {
            request.Headers.Authorization = AuthenticationHeaderValue.Parse(authorization);
        }

        if (body is not null)
        {
            request.Content = new ByteArrayContent(body);
            request.Content.Headers.ContentType = MediaTypeHeaderValue.Parse(type);
        }

        foreach (var (name, value) in headers)
        {
            if (!request.Headers.TryAddWithoutValidation(name, value))
            {
                request.Content!.Headers.TryAddWithoutValidation(name, value);
            }
        }

        return await http.SendAsync(request);
    }

    public Task<HttpResponseMessage> ClaimAsync(
        string? authorization = null,
        string offer = Offer,
        string path = "_build/v1/leases",
        params (string Name, string Value)[] headers
    ) => SendAsync(authorization, "POST", path, Encoding.UTF8.GetBytes(offer), headers: headers);

    /// <summary>Takes a lease that has to be there.</summary>
    public async Task<WireLease> LeaseAsync(string? authorization = null)
    {
        using var response = await ClaimAsync(authorization);
        var text = await response.Content.ReadAsStringAsync();
        Assert.True(response.StatusCode == HttpStatusCode.Created, $"{response.StatusCode} {text}");
        return new WireLease(this, response.Headers.Location!.ToString(), JsonNode.Parse(text)!);
    }
}

/// <summary>A lease as it came over the wire.</summary>
internal sealed class WireLease(WireNode node, string path, JsonNode document)
{
    public string Path => path;
    public JsonNode Document => document;
    public string Token => (string)document["auth"]!["token"]!;
    public string Bearer => "Bearer " + Token;
    public string Repository => (string)document["repository"]!;
    public string StagingTag => (string)document["push"]!["stagingTag"]!;

    public Task<HttpResponseMessage> SendAsync(
        string method,
        string at,
        byte[]? body = null,
        string type = "application/json",
        params (string Name, string Value)[] headers
    ) => node.SendAsync(Bearer, method, at, body, type, headers);

    public Task<HttpResponseMessage> BeatAsync(string body = "{}") =>
        SendAsync("PATCH", path, Encoding.UTF8.GetBytes(body));

    public Task<HttpResponseMessage> LogAsync(string range, string text) =>
        SendAsync("PATCH", path + "/log", Encoding.UTF8.GetBytes(text), "text/plain", ("Content-Range", range));

    public Task<HttpResponseMessage> ReceivedAsync() => SendAsync("GET", path + "/log");

    public Task<HttpResponseMessage> ResultAsync(string body) =>
        SendAsync("PUT", path + "/result", Encoding.UTF8.GetBytes(body));

    public Task<HttpResponseMessage> GiveBackAsync() => SendAsync("DELETE", path);

    public async Task<Digest> PushBlobAsync(byte[] content)
    {
        var digest = Digest.Of(content);
        using var response = await SendAsync(
            "POST",
            $"{Repository}/blobs/uploads/?digest={digest}",
            content,
            MediaTypes.OctetStream
        );
        Assert.True(
            response.StatusCode == HttpStatusCode.Created,
            $"{response.StatusCode} {await response.Content.ReadAsStringAsync()}"
        );
        return digest;
    }

    /// <summary>Pushes an image of one layer; the manifest by its digest, unless another reference is given.</summary>
    public async Task<Digest> PushImageAsync(
        string content = "hello",
        string architecture = "amd64",
        string? reference = null
    )
    {
        var manifest = await ImageAsync(content, architecture);
        var digest = Digest.Of(manifest);
        using var response = await PutManifestAsync(reference ?? digest.ToString(), manifest);
        Assert.True(
            response.StatusCode == HttpStatusCode.Created,
            $"{response.StatusCode} {await response.Content.ReadAsStringAsync()}"
        );
        return digest;
    }

    public Task<HttpResponseMessage> PutManifestAsync(string reference, byte[] manifest) =>
        SendAsync("PUT", $"{Repository}/manifests/{reference}", manifest, MediaTypes.OciManifest);

    /// <summary>Pushes the blobs of an image; its manifest.</summary>
    public async Task<byte[]> ImageAsync(string content, string architecture = "amd64", Descriptor? subject = null)
    {
        var tar = new Tars().File("hello", content).Bytes();
        var layer = Tars.Gzip(tar);
        var config = Encoding.UTF8.GetBytes(
            $$$"""{"architecture":"{{{architecture}}}","os":"linux","author":"{{{content}}}","rootfs":{"type":"layers","diff_ids":["{{{Digest.Of(tar)}}}"]}}"""
        );
        var manifest = new ImageManifest
        {
            Config = new Descriptor
            {
                MediaType = MediaTypes.OciConfig,
                Digest = await PushBlobAsync(config),
                Size = config.Length,
            },
            Layers =
            [
                new Descriptor
                {
                    MediaType = MediaTypes.OciLayerGzip,
                    Digest = await PushBlobAsync(layer),
                    Size = layer.Length,
                },
            ],
            Subject = subject,
        };
        return JsonSerializer.SerializeToUtf8Bytes(manifest, OciJson.Default.ImageManifest);
    }

    /// <summary>The result that names a manifest.</summary>
    public static string Succeeded(Digest manifest) =>
        $$$"""{"state":"succeeded","manifest":{"mediaType":"{{{MediaTypes.OciManifest}}}","digest":"{{{manifest}}}","size":1}}""";
}
