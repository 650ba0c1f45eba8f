using System.Net;
using Kiln.Oci;

namespace Kiln.Tests.Registry;

/// <summary>Chunks whose length nothing announces but their range, as <c>Transfer-Encoding: chunked</c> brings them.</summary>
public sealed class ChunkLengthTests(ServerFixture fixture)
{
    [Theory]
    [InlineData("0-9", 202, "0-9")]
    [InlineData("0-99", 400, "0-9")]
    [InlineData("0-4", 400, "0-4")]
    public async Task A_chunk_is_as_long_as_its_range(string range, int status, string stored)
    {
        TestState.RequireOneServer("the proxy announces the length of a body that came whole");
        var content = Samples.Bytes(10);
        var location = await fixture.Http.StartUploadAsync(Samples.Repository());

        using var response = await StreamAsync("PATCH", location, content, range);

        if (status == 202)
        {
            Assert.Equal(HttpStatusCode.Accepted, response.StatusCode);
        }
        else
        {
            await response.ShouldFailAsync(status, "SIZE_INVALID");
        }

        // What came of the range is there; what was past it is not.
        using var now = await fixture.Http.GetAsync(location);
        Assert.Equal(stored, now.Header("Range"));
        var next = stored == "0-4" ? 5 : 10;
        using var end = await fixture.Http.PutUploadAsync(location, Digest.Of(content), content[next..]);
        Assert.Equal(HttpStatusCode.Created, end.StatusCode);
    }

    [Theory]
    [InlineData("0-99")]
    [InlineData("0-4")]
    public async Task A_last_chunk_that_is_not_as_long_leaves_the_session_as_it_was(string range)
    {
        var content = Samples.Bytes(10);
        var digest = Digest.Of(content);
        var location = await fixture.Http.StartUploadAsync(Samples.Repository());

        using var wrong = await StreamAsync("PUT", $"{location}?digest={digest}", content, range);
        await wrong.ShouldFailAsync(400, "SIZE_INVALID");
        using var right = await StreamAsync("PUT", $"{location}?digest={digest}", content, "0-9");

        Assert.Equal(HttpStatusCode.Created, right.StatusCode);
    }

    private async Task<HttpResponseMessage> StreamAsync(string method, string location, byte[] body, string range)
    {
        using var request = new HttpRequestMessage(new HttpMethod(method), location)
        {
            Content = new ByteArrayContent(body),
        };
        request.Content.Headers.TryAddWithoutValidation("Content-Range", range);
        request.Headers.TransferEncodingChunked = true;
        return await fixture.Http.SendAsync(request);
    }
}
