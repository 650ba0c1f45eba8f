using System.Globalization;
using System.Text;
using Kiln.Oci;

namespace Kiln.Tests.Fuzz;

/// <summary>Makes requests: each a valid one of some route, into which hostile values and mutations went.</summary>
internal static class FuzzRequests
{
    private const int MaxMutations = 3;
    private static readonly string[] Reads = ["GET", "GET", "HEAD"];

    private static readonly string[] Methods =
    [
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
        "TRACE",
        "CONNECT",
        "get",
        "PROPFIND",
        "M-SEARCH",
        "",
        "G\u00cbT",
    ];

    // What the next request may be about, with how to make it.
    private static readonly Func<Dice, Parts>[] Routes =
    [
        d => new(d.Of("GET", "HEAD", "DELETE"), $"{Name(d)}/manifests/{Reference(d)}"),
        d =>
            new("PUT", $"{Name(d)}/manifests/{Reference(d)}{Query(d, "tag", "tag")}")
            {
                Body = FuzzBodies.Manifest(d),
                Type = d.Of(Hostile.Types[..5]),
            },
        d => PutByDigest(d, FuzzBodies.Manifest(d)),
        d => new(d.Of("GET", "HEAD", "DELETE"), $"{Name(d)}/blobs/{DigestOf(d)}"),
        d =>
            new("POST", $"{Name(d)}/blobs/uploads/{Query(d, "mount", "from", "digest", "digest-algorithm")}")
            {
                Body = FuzzBodies.Bytes(d),
            },
        d => PushByPost(d, FuzzBodies.Bytes(d)),
        d => new("GET", $"fuzz/a/blobs/uploads/{Upload(d)}"),
        d => new("PATCH", $"fuzz/a/blobs/uploads/{Upload(d)}") { Body = FuzzBodies.Bytes(d), IsChunk = true },
        d => FinishUpload(d, FuzzBodies.Bytes(d)),
        d => new("DELETE", $"{Name(d)}/blobs/uploads/{Upload(d)}"),
        d => new(d.Of(Reads), $"{Name(d)}/tags/list{Query(d, "n", "last", "ns")}"),
        d => new(d.Of(Reads), $"{Name(d)}/referrers/{DigestOf(d)}{Query(d, "artifactType", "last", "n")}"),
        d => new(d.Of(Reads), $"_catalog{Query(d, "n", "last")}") { Login = true },
        d => new(d.Of(Reads), d.Of("", "_oci/ext/discover", $"{Name(d)}/_oci/ext/discover", "_build/v1/info")),
        d => new(d.Of(Reads), $"{Name(d)}/_build/v1/info"),
        d =>
            new("POST", $"{Name(d)}/_build/v1/jobs")
            {
                Body = FuzzBodies.Job(d),
                Type = d.Of("application/json", "application/vnd.supercontainers.build.request.v1+json"),
            },
        d =>
            new("POST", $"{Name(d)}/_build/v1/jobs{JobQuery(d)}")
            {
                Body = FuzzBodies.Recipe(d),
                Type = d.Of("text/x-dockerfile", "application/vnd.supercontainers.build.dockerfile.v1"),
            },
        d => new("GET", $"{Name(d)}/_build/v1/jobs{Query(d, "n", "last", "state", "tag")}"),
        d => new(d.Of("GET", "HEAD", "DELETE"), $"{Name(d)}/_build/v1/jobs/{JobId(d)}"),
        d => new(d.Of(Reads), $"{Name(d)}/_build/v1/jobs/{JobId(d)}/logs{Query(d, "task", "follow")}"),
        d => new("POST", $"{Name(d)}/_build/v1/secrets") { Body = d.Latin1(d.Of(0, 1, 100, 70_000)) },
        d => new("GET", $"/token{Query(d, "service", "scope", "offline_token", "account")}"),
        d => new("POST", "/token") { Body = FuzzBodies.Form(d), Type = "application/x-www-form-urlencoded" },
        d => new("GET", "/admin/v1/tokens") { Admin = true },
        d =>
            new("POST", "/admin/v1/tokens")
            {
                Admin = true,
                Body = FuzzBodies.Token(d),
                Type = "application/json",
            },
        d => new("DELETE", $"/admin/v1/tokens/{d.Of(Hostile.Tags)}") { Admin = true },
        d => new(d.Of(Reads), d.Of("/", "/v2", "//v2/", "/v2/../v2/", "/v3/", "*", "http://localhost/v2/", "/%76%32/")),
    ];

    /// <summary>A valid request of some route with something wrong in it, the same for the same dice.</summary>
    public static FuzzCase Next(Dice dice)
    {
        var parts = dice.Of(Routes)(dice);
        var headers = new List<(string Name, string Value)>();
        if (parts.Type is { } type)
        {
            headers.Add(("Content-Type", dice.Percent(90) ? type : dice.Of(Hostile.Types)));
        }

        AddCredentials(dice, parts, headers);
        if (parts.IsChunk && dice.Percent(60))
        {
            headers.Add(("Content-Range", ChunkRange(dice, parts.Body)));
        }

        var method = parts.Method;
        var target = parts.Target;
        var body = parts.Body;
        for (var i = dice.Below(MaxMutations + 1); i > 0; i--)
        {
            (method, target, body) = FuzzMutations.Mutate(dice, headers, (method, target, body));
        }

        if (dice.Percent(3))
        {
            method = dice.Of(Methods);
        }

        var right = FuzzMutations.IsRight(method, target, headers);
        if (right && body.Length > 0 && dice.Percent(10))
        {
            headers.Add(("Transfer-Encoding", "chunked"));
            body = FuzzMutations.Chunked(dice, body);
        }

        var made = FuzzCase.Of(method, target, headers, body, right);
        // Not where the request has an administrator's rights: it could do what it ought not to.
        return dice.Percent(6) && !parts.Admin ? FuzzMutations.Scramble(dice, made) : made;
    }

    private static void AddCredentials(Dice dice, Parts parts, List<(string Name, string Value)> headers)
    {
        if (parts.Admin && dice.Percent(80))
        {
            headers.Add(("Authorization", FuzzWorld.Admin));
        }
        else if (dice.Percent(parts.Login ? 80 : 8))
        {
            headers.Add(("Authorization", FuzzWorld.User));
        }
        else if (dice.Percent(5))
        {
            headers.Add(("Authorization", dice.Of(Hostile.Credentials)));
        }
    }

    private static Parts PutByDigest(Dice dice, string body) =>
        new("PUT", $"{Name(dice)}/manifests/{OwnDigest(dice, body)}{Query(dice, "tag", "tag", "tag")}")
        {
            Body = body,
            Type = dice.Of(Hostile.Types[..3]),
        };

    private static Parts PushByPost(Dice dice, string body) =>
        new("POST", $"{Name(dice)}/blobs/uploads/?digest={OwnDigest(dice, body)}") { Body = body };

    private static Parts FinishUpload(Dice dice, string body) =>
        new("PUT", $"fuzz/a/blobs/uploads/{Upload(dice)}?digest={OwnDigest(dice, body)}")
        {
            Body = body,
            IsChunk = true,
        };

    private static string Name(Dice dice) => dice.Percent(50) ? "fuzz/a" : dice.Of(Hostile.Repositories);

    private static string Reference(Dice dice) => dice.Percent(50) ? dice.Of(Hostile.Tags) : DigestOf(dice);

    private static string Upload(Dice dice) => dice.Percent(80) ? FuzzCase.Session : dice.Of(Hostile.Texts[1..]);

    private static string JobId(Dice dice) => dice.Percent(75) ? FuzzCase.Job : dice.Of(Hostile.Texts[1..]);

    private static string OwnDigest(Dice dice, string body) =>
        dice.Percent(75)
            ? Digest.Of(Encoding.Latin1.GetBytes(body), dice.Percent(80) ? Digest.Sha256 : Digest.Sha512).ToString()
            : DigestOf(dice);

    public static string DigestOf(Dice dice) =>
        dice.Below(14) switch
        {
            < 5 => dice.Of(FuzzWorld.Digests),
            5 => $"sha256:{new string('0', 64)}",
            6 => $"sha512:{new string('0', 128)}",
            7 => $"sha256:{new string('0', 63)}",
            8 => $"sha256:{new string('A', 64)}",
            9 => $"sha512:{new string('0', 64)}",
            10 => $"md5:{new string('0', 32)}",
            11 => "sha256:" + dice.Of(Hostile.Texts),
            12 => dice.Of(Hostile.Texts) + ":" + new string('0', 64),
            _ => "sha256%3A" + new string('0', 64),
        };

    private static string ChunkRange(Dice dice, string body) =>
        dice.Percent(50)
            ? string.Create(CultureInfo.InvariantCulture, $"0-{body.Length - 1}")
            : dice.Of(Hostile.ContentRanges);

    private static string Query(Dice dice, params IReadOnlyList<string> names)
    {
        var query = "";
        foreach (var name in names)
        {
            if (dice.Percent(45))
            {
                query += (query.Length == 0 ? "?" : "&") + name + (dice.Percent(95) ? "=" + Value(dice, name) : "");
            }
        }

        return query;
    }

    private static string Value(Dice dice, string name) =>
        name switch
        {
            "n" => dice.Of(Hostile.Numbers),
            "mount" or "digest" => DigestOf(dice),
            "from" => dice.Of(Hostile.Repositories),
            "tag" => dice.Of(Hostile.Tags),
            "last" => dice.Percent(50) ? dice.Of(Hostile.Texts) : dice.Of(Hostile.Tags),
            "digest-algorithm" => dice.Of("sha256", "sha512", "md5", "", "SHA256", "sha256%00"),
            "task" => dice.Of("t1", "t2", "t0", "t-1", "t99999999999", "", "%00", "x"),
            "follow" => dice.Of("1", "true", "", "0", "x"),
            "state" => dice.Of("queued", "succeeded", "", "%00", "x'", "%25"),
            "scope" => dice.Of(
                "repository:fuzz/a:pull,push",
                "repository(plugin):a:*",
                "repository::",
                "a",
                ":::",
                "registry:catalog:*",
                string.Join("%20", Enumerable.Repeat("repository:a:pull", 70)),
                new string(':', 2000)
            ),
            "offline_token" => dice.Of("true", "false", "1", "x"),
            _ => dice.Of(Hostile.Texts),
        };

    private static string JobQuery(Dice dice)
    {
        string[] names =
        [
            "tag",
            "platform",
            "microarchitecture",
            "arg.A",
            "arg.",
            "label.x",
            "secret.s",
            "target",
            "network",
            "timeout",
            "queue",
            "cache",
            "maxage",
            "sourcedate",
            "unknown",
        ];
        var query = "";
        for (var i = dice.Below(4); i > 0; i--)
        {
            var value = dice.Percent(50) ? dice.Of(Hostile.Texts) : dice.Of(Hostile.Numbers);
            query += $"{(query.Length == 0 ? "?" : "&")}{dice.Of(names)}={value}";
        }

        return query;
    }

    private sealed record Parts
    {
        public Parts(string method, string path) =>
            (Method, Target) = (
                method,
                path.StartsWith('/') || path.StartsWith("http", StringComparison.Ordinal) || path == "*"
                    ? path
                    : "/v2/" + path
            );

        public string Method { get; }
        public string Target { get; }
        public string Body { get; init; } = "";
        public string? Type { get; init; }
        public bool Admin { get; init; }
        public bool Login { get; init; }
        public bool IsChunk { get; init; }
    }
}
