using System.Runtime.CompilerServices;
using Kiln.Client.Registry;

namespace Kiln.Client.Transport;

/// <summary>One page of a list.</summary>
internal sealed record ListPage(HttpResponseMessage Response, byte[] Body, string Action);

/// <summary>
/// Goes through the pages of a list (distribution-spec, "Listing Tags": <c>Link</c> with <c>rel=next</c>). A list that
/// leads in a circle or does not end is an error and never a shorter list: whoever deletes what is not in it would delete
/// too much.
/// </summary>
internal static class ListPages
{
    private const int MaxPageBytes = 16 << 20;

    /// <summary>Bytes of all pages of one list.</summary>
    private const long MaxBytes = 256L << 20;

    // Stands for the registry, whose address is the transport's to know.
    private static readonly Uri Root = new("http://registry.invalid/");

    /// <summary>The pages, the next one asked for when it is wanted.</summary>
    /// <param name="first">Asks for the first page.</param>
    /// <exception cref="RegistryException">
    /// Also (<see cref="RegistryFault.Broken"/>) where a page is linked to twice, where a link is none, and where there are
    /// more pages than <see cref="RegistryClientOptions.MaxListPages"/> or more bytes than a list can have.
    /// </exception>
    public static async IAsyncEnumerable<ListPage> ReadAsync(
        RegistryTransport transport,
        Call first,
        [EnumeratorCancellation] CancellationToken cancel
    )
    {
        var seen = new HashSet<string>(StringComparer.Ordinal) { first.Target };
        var call = first;
        for (var bytes = 0L; ; )
        {
            var (response, body) = await transport.SendAndReadAsync(call, MaxPageBytes, cancel);
            yield return new ListPage(response, body, call.Action);
            if (LinkHeaders.Links(response).GetValueOrDefault("next") is not { } link)
            {
                yield break;
            }

            bytes += body.Length;
            call = call with { Target = transport.TargetOf(Resolve(call, link)) };
            if (!seen.Add(call.Target))
            {
                throw Broken(call, "its pages lead in a circle, so that it has no end");
            }

            if (seen.Count > transport.Options.MaxListPages || bytes > MaxBytes)
            {
                throw Broken(
                    call,
                    $"it is longer than {transport.Options.MaxListPages} pages or {MaxBytes} bytes, which no list is"
                );
            }
        }
    }

    // Relative to the page that has it (RFC 8288, 3.2).
    private static string Resolve(Call call, string link) =>
        Uri.TryCreate(new Uri(Root, call.Target), link, out var next)
        && (next.Scheme == Uri.UriSchemeHttps || next.Scheme == Uri.UriSchemeHttp)
            ? next.Host == Root.Host
                ? next.PathAndQuery
                : next.AbsoluteUri
            : throw Broken(call, $"its next page is '{link}', which is no address");

    private static RegistryException Broken(Call call, string why) =>
        new(RegistryFault.Broken, call.Action, why) { Host = call.Host };
}
