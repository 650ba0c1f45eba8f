using System.Diagnostics.CodeAnalysis;
using Kiln.Oci;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace Kiln.Server.Http;

/// <summary>What answers one route.</summary>
internal delegate Task V2Handler(V2Context context);

/// <summary>
/// The table of routes under <c>/v2/</c>. Names of repositories contain slashes, so a route is a fixed pattern at the
/// path's end: <c>{name}/blobs/{}</c>. A pattern without <c>{name}</c> is the whole path. GET answers HEAD too.
/// </summary>
internal sealed class V2Router
{
    private readonly List<Route> _routes = [];

    /// <summary>Adds a route; <paramref name="pattern"/> is what follows <c>/v2/</c>.</summary>
    public V2Router Map(string method, string pattern, V2Handler handler)
    {
        var named = pattern.StartsWith("{name}/", StringComparison.Ordinal);
        var segments = (named ? pattern["{name}/".Length..] : pattern).Split('/');
        var route = _routes.Find(r => r.Named == named && r.Segments.SequenceEqual(segments, StringComparer.Ordinal));
        if (route is null)
        {
            route = new Route(named, segments, new(StringComparer.OrdinalIgnoreCase));
            _routes.Add(route);
        }

        route.Handlers.Add(method, handler);
        return this;
    }

    /// <summary>
    /// Whether a request's path is <c>/v2</c> or under it, as the client wrote it: the framework's own path is decoded and
    /// its dots are resolved, and two ways to read a path are one too many.
    /// </summary>
    public static bool IsUnder(HttpContext http) => RawPath(http) is not null;

    /// <summary>Answers a request for which <see cref="IsUnder"/> holds.</summary>
    /// <exception cref="OciException">The path, the name or the method is refused.</exception>
    public Task RouteAsync(HttpContext http)
    {
        var path = RawPath(http) ?? throw new InvalidOperationException("asked about a path that is not under /v2/");
        var segments = path.Split('/');
        foreach (var route in _routes)
        {
            if (route.Match(segments, out var name, out var parameters))
            {
                return Dispatch(http, route, name, parameters);
            }
        }

        throw new OciException(ErrorCodes.Unsupported, $"there is nothing at /v2/{V2Context.Shorten(path)}");
    }

    private static Task Dispatch(HttpContext http, Route route, string? name, List<string> parameters)
    {
        RepositoryName? repository = null;
        if (name is not null && !RepositoryName.TryParse(name, out repository))
        {
            throw new OciException(
                ErrorCodes.NameInvalid,
                $"'{V2Context.Shorten(name)}' is not a repository name; use lower-case letters, digits and single separators . _ -, at most 255 characters"
            );
        }

        var method = HttpMethods.IsHead(http.Request.Method) ? HttpMethods.Get : http.Request.Method;
        if (!route.Handlers.TryGetValue(method, out var handler))
        {
            var allowed = route.Handlers.Keys.SelectMany(m =>
                HttpMethods.IsGet(m) ? [m, HttpMethods.Head] : new[] { m }
            );
            http.Response.Headers.Allow = string.Join(", ", allowed);
            throw new OciException(ErrorCodes.MethodUnsupported, $"{http.Request.Method} is not supported here");
        }

        var context = new V2Context(http, repository, parameters);
        if (repository is not null && HttpMethods.IsGet(method))
        {
            context.AnswerNamespace();
        }

        return handler(context);
    }

    // The raw target, behind /v2/, or null: what a client encoded as %2F must not become a slash in a name.
    private static string? RawPath(HttpContext http)
    {
        var target = http.Features.Get<IHttpRequestFeature>()!.RawTarget;
        if (!target.StartsWith('/'))
        {
            // absolute-form (RFC 9112, 3.2.2)
            var authority = target.IndexOf("://", StringComparison.Ordinal);
            var slash = authority < 0 ? -1 : target.IndexOf('/', authority + "://".Length);
            target = slash < 0 ? "" : target[slash..];
        }

        var query = target.IndexOf('?', StringComparison.Ordinal);
        var path = query < 0 ? target : target[..query];
        return path.StartsWith("/v2/", StringComparison.Ordinal) ? path["/v2/".Length..]
            : path == "/v2" ? ""
            : null;
    }

    private sealed record Route(bool Named, string[] Segments, Dictionary<string, V2Handler> Handlers)
    {
        public bool Match(string[] path, out string? name, [NotNullWhen(true)] out List<string>? parameters)
        {
            name = null;
            parameters = null;
            var rest = path.Length - Segments.Length;
            if (Named ? rest < 1 : rest != 0)
            {
                return false;
            }

            for (var i = 0; i < Segments.Length; i++)
            {
                if (Segments[i] == "{}" ? path[rest + i].Length == 0 : Segments[i] != path[rest + i])
                {
                    return false;
                }
            }

            parameters = [];
            for (var i = 0; i < Segments.Length; i++)
            {
                if (Segments[i] == "{}")
                {
                    parameters.Add(Uri.UnescapeDataString(path[rest + i]));
                }
            }

            name = Named ? string.Join('/', path[..rest]) : null;
            return true;
        }
    }
}
