using System.Buffers.Text;
using System.Text;
using System.Text.Json;
using Kiln.Server.Access;
using Kiln.Server.Access.Logins;
using Kiln.Server.Access.Tokens;

namespace Kiln.Server.Front;

/// <summary>
/// By which name somebody is known here whose credentials the registry behind has found right. It must stand for nobody
/// else: builds use secrets and bases in it.
/// </summary>
internal sealed class CallerNames(TokenSigner signer)
{
    private const string Basic = "Basic ";
    private const string Bearer = "Bearer ";
    private const int MaxNameLength = 128;
    private const int FingerprintLength = 12;

    /// <returns>Nobody in particular for a token that was given to somebody who had not logged in.</returns>
    /// <param name="authorization">Credentials of a kind that the registry behind has checked.</param>
    public Principal Of(string authorization)
    {
        var user =
            authorization.StartsWith(Basic, StringComparison.OrdinalIgnoreCase)
            && Login.ReadBasic(authorization[Basic.Length..].Trim()) is var (name, _)
                ? name
                : null;
        var subject = authorization.StartsWith(Bearer, StringComparison.OrdinalIgnoreCase)
            ? Subject(authorization[Bearer.Length..].Trim())
            : null;
        if (subject == "")
        {
            return Principal.Anonymous;
        }

        // Not every registry looks at the name beside a password that is a token: the name alone is nobody's.
        var said =
            user is not null ? $"{Plain(user)}~{Fingerprint(authorization)}"
            : subject is not null ? (Plain(subject) == subject ? subject : $"{Plain(subject)}~{Fingerprint(subject)}")
            : $"bearer~{Fingerprint(authorization)}";
        return new Principal(said) { Kind = PrincipalKind.User };
    }

    private string Fingerprint(string credentials) => signer.Fingerprint(credentials)[..FingerprintLength];

    // Whom a token is for, says whoever signed it; that it was signed right, the registry behind has found. Empty where it
    // is for nobody, as token servers give one to those who have not logged in; null where it does not say.
    private static string? Subject(string token)
    {
        var parts = token.Split('.');
        if (parts.Length != 3)
        {
            return null;
        }

        try
        {
            using var document = JsonDocument.Parse(Base64Url.DecodeFromChars(parts[1]));
            if (document.RootElement.ValueKind != JsonValueKind.Object)
            {
                return null;
            }

            if (!document.RootElement.TryGetProperty("sub", out var sub) || sub.ValueKind == JsonValueKind.Null)
            {
                return "";
            }

            var text = sub.ValueKind == JsonValueKind.String ? sub.GetString() : null;
            return text == Principal.Anonymous.Name ? ""
                : text?.Length <= MaxNameLength ? text
                : null;
        }
        catch (Exception e) when (e is JsonException or FormatException or DecoderFallbackException)
        {
            return null;
        }
    }

    // Names stand in jobs and logs.
    private static string Plain(string name) =>
        string.Concat(
            name.Take(MaxNameLength)
                .Select(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.' or '@' or '/' ? c : '-')
        );
}
