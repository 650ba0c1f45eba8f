using System.Globalization;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Kiln.Conformance.Wire;

/// <summary>What a registry answered. The <c>Must</c> methods fail the check; <see cref="Needed"/> only ends it.</summary>
internal sealed class Answer(string request, Uri uri, HttpResponseMessage response, byte[] body)
{
    private const int ShownCharacters = 300;

    public int Status { get; } = (int)response.StatusCode;
    public byte[] Body => body;
    public string Text => Encoding.UTF8.GetString(body);

    /// <summary>Where the answer came from; addresses in it are relative to this.</summary>
    public Uri Uri => uri;

    public bool IsSuccess => Status is >= 200 and < 300;

    /// <summary>A header's value, several with commas; null where it is absent.</summary>
    public string? Header(string name)
    {
        if (
            response.Headers.TryGetValues(name, out var values)
            || response.Content.Headers.TryGetValues(name, out values)
        )
        {
            return string.Join(", ", values);
        }

        return null;
    }

    public string? MediaType =>
        MediaTypeHeaderValue.TryParse(Header("Content-Type"), out var type) ? type.MediaType : Header("Content-Type");

    /// <summary>The address in <c>Location</c>, which has to be there.</summary>
    public Uri Location =>
        Uri.TryCreate(uri, MustHave("Location"), out var location)
            ? location
            : throw Failure($"its Location '{Header("Location")}' is no address");

    /// <summary>What the check is about: the status has to be one of these.</summary>
    public Answer Must(params IReadOnlyList<int> statuses) =>
        statuses.Contains(Status)
            ? this
            : throw Failure($"answered {Status}, not {string.Join(" or ", statuses)}{Shown()}");

    /// <summary>It has to be taken, whatever the status is for that.</summary>
    public Answer MustSucceed() => IsSuccess ? this : throw Failure($"answered {Status}{Shown()}");

    /// <summary>What another check is about: where it did not succeed, this one cannot go on.</summary>
    public Answer Needed(string what) =>
        IsSuccess ? this : throw new SkippedException($"{what} is needed first: {request} answered {Status}{Shown()}");

    public string MustHave(string header) =>
        Header(header) is { Length: > 0 } value ? value : throw Failure($"answered {Status} without {header}");

    public Answer MustHave(string header, string expected)
    {
        var value = MustHave(header);
        return value == expected ? this : throw Failure($"has {header}: {value}, not {expected}");
    }

    /// <summary>The media type, without its parameters.</summary>
    public Answer MustBe(string mediaType) =>
        MediaType == mediaType ? this : throw Failure($"is {MediaType ?? "of no type"}, not {mediaType}");

    public Answer MustEqual(ReadOnlySpan<byte> expected) =>
        body.AsSpan().SequenceEqual(expected)
            ? this
            : throw Failure($"gave {body.Length} bytes that are not the {expected.Length} expected ones");

    /// <summary>An error as the distribution specification writes it (G-1).</summary>
    public Answer MustFail(int status, params IReadOnlyList<string> codes)
    {
        Must(status);
        var code = MustBeEnvelope();
        return codes.Contains(code) ? this : throw Failure($"has the code {code}, not {string.Join(" or ", codes)}");
    }

    /// <summary>The first code of an error's body, all of which has to have the form.</summary>
    public string MustBeEnvelope()
    {
        var errors = Json().Items("errors");
        if (errors.Count == 0)
        {
            throw Failure("has an empty list of errors");
        }

        foreach (var error in errors)
        {
            var code = error.Text("code");
            if (code.Length == 0 || code.Any(c => !char.IsAsciiLetterUpper(c) && !char.IsAsciiDigit(c) && c != '_'))
            {
                throw Failure($"has the error code '{code}', which may only have A to Z, digits and _");
            }

            if (error?["message"] is not null)
            {
                error.Text("message");
            }
        }

        return errors[0].Text("code");
    }

    /// <summary>The body, which has to be JSON.</summary>
    public JsonNode Json()
    {
        try
        {
            return JsonNode.Parse(body) ?? throw Failure("is the JSON null");
        }
        catch (JsonException)
        {
            throw Failure($"is no JSON{Shown()}");
        }
    }

    public CheckFailedException Failure(string what) => new($"{request} {what}");

    private string Shown()
    {
        if (body.Length == 0)
        {
            return "";
        }

        var text = Encoding.UTF8.GetString(body.AsSpan(0, Math.Min(body.Length, ShownCharacters)));
        return string.Create(CultureInfo.InvariantCulture, $": {text.ReplaceLineEndings(" ")}");
    }
}
