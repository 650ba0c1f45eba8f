using System.Diagnostics.CodeAnalysis;
using Kiln.Oci;
using Kiln.Server.Access;
using Kiln.Server.Access.Guard;
using Kiln.Server.Access.Policies;
using Kiln.Server.Metering;
using Kiln.Server.Registry.Upstreams;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace Kiln.Server.Http;

/// <summary>What answers one route.</summary>
internal delegate Task V2Handler(V2Context context);

/// <summary>
/// The table of routes under <c>/v2/</c>. Names of repositories contain slashes, so a route is a fixed pattern at the
/// path's end: <c>{name}/blobs/{}</c>. A pattern without <c>{name}</c> is the whole path. GET answers HEAD too. There is
/// no route without a word on who may use it.
/// </summary>
/// <param name="root">What every path begins with, with a slash at its end.</param>
internal sealed class V2Router(Gate gate, RequestAudit audit, UpstreamTable upstreams, string root)
{
    /// <summary>The registry's own paths.</summary>
    public const string Root = "/v2/";

    private readonly List<Route> _routes = [];
    private Func<HttpContext, Task>? _otherwise;

    /// <summary>Every route, for tests and documentation.</summary>
    public IEnumerable<(string Method, string Pattern, Need Need)> Routes =>
        _routes.SelectMany(r => r.Handlers.Select(h => (h.Key, r.Pattern, h.Value.Need)));

    /// <summary>Adds a route; <paramref name="pattern"/> is what follows the root.</summary>
    public V2Router Map(string method, string pattern, Need need, V2Handler handler)
    {
        var named = pattern.StartsWith("{name}/", StringComparison.Ordinal);
        var segments = (named ? pattern["{name}/".Length..] : pattern).Split('/');
        var route = _routes.Find(r => r.Named == named && r.Segments.SequenceEqual(segments, StringComparer.Ordinal));
        if (route is null)
        {
            route = new Route(
                new MatchedRoute(root + pattern),
                pattern,
                named,
                segments,
                new(StringComparer.OrdinalIgnoreCase)
            );
            _routes.Add(route);
        }

        route.Handlers.Add(method, (need, handler));
        return this;
    }

    /// <summary>
    /// Has requests that no route is for answered elsewhere; but not those of the build extension, which nobody else has.
    /// </summary>
    public V2Router Otherwise(Func<HttpContext, Task> answer)
    {
        _otherwise = answer;
        return this;
    }

    /// <summary>
    /// Whether a request's path is <c>/v2</c> (or the root of these routes) or under it, as the client wrote it: the
    /// framework's own path is decoded and its dots are resolved, and two ways to read a path are one too many.
    /// </summary>
    public bool IsUnder(HttpContext http) => RawPath(http) is not null;

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
                http.Features.Set(route.Matched);
                return Dispatch(http, route, name, parameters);
            }
        }

        if (_otherwise is not null && !segments.Contains(DiscoveryEndpoints.Build, StringComparer.Ordinal))
        {
            http.Features.Set(Passed);
            return _otherwise(http);
        }

        throw new OciException(ErrorCodes.Unsupported, $"there is nothing at {root}{V2Context.Shorten(path)}");
    }

    private static readonly MatchedRoute Passed = new(Root + "{behind}");

    private Task Dispatch(HttpContext http, Route route, string? name, List<string> parameters)
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
        if (!route.Handlers.TryGetValue(method, out var target))
        {
            if (_otherwise is not null && !route.Segments.Contains(DiscoveryEndpoints.Build, StringComparer.Ordinal))
            {
                return _otherwise(http);
            }

            var allowed = route.Handlers.Keys.SelectMany(m =>
                HttpMethods.IsGet(m) ? [m, HttpMethods.Head] : new[] { m }
            );
            http.Response.Headers.Allow = string.Join(", ", allowed);
            throw new OciException(ErrorCodes.MethodUnsupported, $"{http.Request.Method} is not supported here");
        }

        return RunAsync(http, target, repository, parameters);
    }

    private async Task RunAsync(
        HttpContext http,
        (Need Need, V2Handler Handler) target,
        RepositoryName? repository,
        List<string> parameters
    )
    {
        Caller? caller = null;
        try
        {
            var named = IsRead(http) && repository is not null ? Named(http, repository) : null;
            repository = named ?? repository;
            caller = await gate.AdmitAsync(http, target.Need, repository);
            RefuseIntoUpstream(target.Need, repository);
            var context = new V2Context(http, caller, repository, parameters);
            if (named is not null)
            {
                http.Response.Headers["OCI-Namespace"] = upstreams.Of(named)!.Host;
            }
            else if (repository is not null && IsRead(http))
            {
                context.AnswerNamespace();
            }

            await target.Handler(context);
        }
        catch (Exception e)
        {
            audit.Failed(http, target.Need, caller, repository, parameters, e);
            throw;
        }

        audit.Done(http, target.Need, caller, repository, parameters);
    }

    private static bool IsRead(HttpContext http) =>
        HttpMethods.IsGet(http.Request.Method) || HttpMethods.IsHead(http.Request.Method);

    // Who names the registry whose content is wanted (distribution-spec, "Registry Proxying") gets it under the name that
    // it has here, which is the one that rights are about.
    private RepositoryName? Named(HttpContext http, RepositoryName repository) =>
        http.Request.Query["ns"].ToString() is { Length: > 0 } host ? upstreams.Named(host, repository) : null;

    private void RefuseIntoUpstream(Need need, RepositoryName? repository)
    {
        if ((need.Rights & (Rights.Push | Rights.Build)) != Rights.None && repository is not null)
        {
            if (upstreams.Of(repository) is { } upstream)
            {
                throw new OciException(
                    ErrorCodes.MethodUnsupported,
                    $"{repository} mirrors a repository of {upstream.Host} and is changed there only; push to a name that does not begin with {upstream.Prefix}/"
                );
            }
        }
    }

    // The raw target behind the root, or null: what a client encoded as %2F must not become a slash in a name.
    private string? RawPath(HttpContext http)
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
        return path.StartsWith(root, StringComparison.Ordinal) ? path[root.Length..]
            : path.Length == root.Length - 1 && root.StartsWith(path, StringComparison.Ordinal) ? ""
            : null;
    }

    private sealed record Route(
        MatchedRoute Matched,
        string Pattern,
        bool Named,
        string[] Segments,
        Dictionary<string, (Need Need, V2Handler Handler)> Handlers
    )
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
