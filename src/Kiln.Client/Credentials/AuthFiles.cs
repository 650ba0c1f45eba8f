using System.Text;
using System.Text.Json;
using Kiln.Oci;

namespace Kiln.Client.Credentials;

/// <summary>
/// The logins that <c>podman login</c>, <c>docker login</c> and their like left behind (containers-auth.json(5)).
/// Files are read when a login is first asked for, so that a broken one does not stop what needs none.
/// </summary>
public sealed class AuthFiles(IReadOnlyList<string> paths) : ICredentialSource
{
    private static readonly string[] HubNames = ["docker.io", "index.docker.io", "registry-1.docker.io"];

    private readonly Lazy<List<Dictionary<string, Login>>> _files = new(() =>
        [.. paths.Where(File.Exists).Select(path => Parse(File.ReadAllBytes(path), path))]
    );

    /// <summary>
    /// The places where people's logins are, best first: <c>$REGISTRY_AUTH_FILE</c>, podman's, docker's.
    /// </summary>
    /// <param name="variable">Reads an environment variable.</param>
    public static AuthFiles OfUser(Func<string, string?> variable)
    {
        var paths = new List<string>();
        if (variable("REGISTRY_AUTH_FILE") is { Length: > 0 } named)
        {
            paths.Add(named);
        }

        if (variable("XDG_RUNTIME_DIR") is { Length: > 0 } runtime)
        {
            paths.Add(Path.Combine(runtime, "containers", "auth.json"));
        }

        var home = variable("HOME") is { Length: > 0 } set ? set : "/";
        var config = variable("XDG_CONFIG_HOME") is { Length: > 0 } xdg ? xdg : Path.Combine(home, ".config");
        paths.Add(Path.Combine(config, "containers", "auth.json"));
        var docker = variable("DOCKER_CONFIG") is { Length: > 0 } folder ? folder : Path.Combine(home, ".docker");
        paths.Add(Path.Combine(docker, "config.json"));
        return new AuthFiles(paths);
    }

    public Login? Find(string host, RepositoryName? repository)
    {
        foreach (var file in _files.Value)
        {
            // The most specific key wins: host/a/b, then host/a, then host.
            foreach (var key in Keys(host, repository))
            {
                if (file.TryGetValue(key, out var login))
                {
                    return login;
                }
            }
        }

        return null;
    }

    private static IEnumerable<string> Keys(string host, RepositoryName? repository)
    {
        var names = HubNames.Contains(host) ? HubNames : [host];
        for (var path = repository?.Value; path is not null; path = Parent(path))
        {
            foreach (var name in names)
            {
                yield return $"{name}/{path}";
            }
        }

        foreach (var name in names)
        {
            yield return name;
        }
    }

    private static string? Parent(string path) => path.LastIndexOf('/') is var slash and >= 0 ? path[..slash] : null;

    /// <summary>Reads one file; keys come out as <c>host[:port][/path]</c>.</summary>
    /// <exception cref="InvalidDataException">The file is not what it should be; the message names it, not its content.</exception>
    internal static Dictionary<string, Login> Parse(ReadOnlyMemory<byte> json, string path)
    {
        var logins = new Dictionary<string, Login>(StringComparer.OrdinalIgnoreCase);
        try
        {
            using var document = JsonDocument.Parse(json);
            if (!document.RootElement.TryGetProperty("auths", out var auths) || auths.ValueKind != JsonValueKind.Object)
            {
                return logins;
            }

            foreach (var entry in auths.EnumerateObject())
            {
                if (ReadLogin(entry.Value) is { } login)
                {
                    logins.TryAdd(Key(entry.Name), login);
                }
            }

            return logins;
        }
        catch (Exception e) when (e is JsonException or FormatException or InvalidOperationException)
        {
            // The content may be a secret: only its place is told.
            throw new InvalidDataException($"the login file {path} cannot be read: it is not valid; log in again", e);
        }
    }

    // docker writes "https://index.docker.io/v1/" and the like.
    private static string Key(string name)
    {
        var scheme = name.IndexOf("://", StringComparison.Ordinal);
        if (scheme < 0)
        {
            return name.TrimEnd('/');
        }

        var rest = name[(scheme + 3)..];
        var slash = rest.IndexOf('/', StringComparison.Ordinal);
        return slash < 0 ? rest : rest[..slash];
    }

    private static Login? ReadLogin(JsonElement entry)
    {
        var identity = Text(entry, "identitytoken");
        if (Text(entry, "auth") is { Length: > 0 } auth)
        {
            var pair = Encoding.UTF8.GetString(Convert.FromBase64String(auth));
            var colon = pair.IndexOf(':', StringComparison.Ordinal);
            return colon < 0
                ? throw new FormatException("no colon in auth")
                : new Login(pair[..colon], pair[(colon + 1)..].TrimEnd('\0'), identity);
        }

        var user = Text(entry, "username");
        return user is { Length: > 0 } ? new Login(user, Text(entry, "password") ?? "", identity)
            : identity is null ? null
            : new Login("", "", identity);
    }

    private static string? Text(JsonElement entry, string name) =>
        entry.ValueKind == JsonValueKind.Object
        && entry.TryGetProperty(name, out var value)
        && value.ValueKind == JsonValueKind.String
        && value.GetString() is { Length: > 0 } text
            ? text
            : null;
}
