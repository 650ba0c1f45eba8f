using Microsoft.IdentityModel.Protocols;
using Microsoft.IdentityModel.Protocols.OpenIdConnect;
using Microsoft.IdentityModel.Tokens;

namespace Kiln.Server.Access.Oidc;

/// <summary>
/// The public keys of one issuer, from its discovery document (OpenID Connect Discovery 1.0, 4): kept for hours, asked
/// for again when a token names a key that is not among them, but not more often than every ten seconds. Where the
/// issuer cannot be reached, the keys that are there go on to count.
/// </summary>
internal sealed class IssuerKeys(string issuer, HttpClient http, TimeProvider time) : IDisposable
{
    private const string WellKnown = "/.well-known/openid-configuration";
    private static readonly TimeSpan Lifetime = TimeSpan.FromHours(12);
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(10);

    private readonly SemaphoreSlim _fetching = new(1, 1);
    private volatile Known? _known;
    private DateTimeOffset _tried = DateTimeOffset.MinValue;

    private sealed record Known(IReadOnlyCollection<SecurityKey> Keys, DateTimeOffset Fetched);

    /// <summary>The keys, with the one of this id among them where the issuer has it.</summary>
    /// <exception cref="IssuerUnreachableException">There are none, and none can be had now.</exception>
    public async Task<IReadOnlyCollection<SecurityKey>> GetAsync(string? keyId, CancellationToken cancel)
    {
        if (_known is { } known && Serves(known, keyId))
        {
            return known.Keys;
        }

        await _fetching.WaitAsync(cancel);
        try
        {
            var now = time.GetUtcNow();
            // Whoever waited for another's attempt takes what that one found.
            if ((_known is { } fresh && Serves(fresh, keyId)) || now - _tried < Pause)
            {
                return _known?.Keys ?? throw new IssuerUnreachableException(issuer, null);
            }

            _tried = now;
            return await FetchAsync(now, cancel);
        }
        finally
        {
            _fetching.Release();
        }
    }

    public void Dispose() => _fetching.Dispose();

    private bool Serves(Known known, string? keyId) =>
        time.GetUtcNow() - known.Fetched < Lifetime && (keyId is null || known.Keys.Any(k => k.KeyId == keyId));

    private async Task<IReadOnlyCollection<SecurityKey>> FetchAsync(DateTimeOffset now, CancellationToken cancel)
    {
        try
        {
            var retriever = new HttpDocumentRetriever(http) { RequireHttps = !new Uri(issuer).IsLoopback };
            var found = await OpenIdConnectConfigurationRetriever.GetAsync(
                issuer.TrimEnd('/') + WellKnown,
                retriever,
                cancel
            );
            if (found.Issuer != issuer)
            {
                // OpenID Connect Discovery 1.0, 4.3: they must be the same.
                throw new InvalidOperationException($"its discovery document is of '{found.Issuer}'");
            }

            _known = new Known([.. found.SigningKeys], now);
            return _known.Keys;
        }
        catch (Exception e) when (e is not OperationCanceledException || !cancel.IsCancellationRequested)
        {
            return _known?.Keys ?? throw new IssuerUnreachableException(issuer, e);
        }
    }
}

/// <summary>An issuer's keys are not there, so that nothing can be said of its tokens.</summary>
internal sealed class IssuerUnreachableException(string issuer, Exception? cause)
    : Exception($"the keys of {issuer} cannot be had: {Innermost(cause) ?? "it was tried a moment ago"}", cause)
{
    private static string? Innermost(Exception? e) => e?.InnerException is { } inner ? Innermost(inner) : e?.Message;
}
