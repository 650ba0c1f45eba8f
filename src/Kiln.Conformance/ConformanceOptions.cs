using System.Globalization;

namespace Kiln.Conformance;

/// <summary>What a run is told: which registry, as whom, and what to look at.</summary>
public sealed record ConformanceOptions
{
    /// <summary>The registry's address, without <c>/v2/</c>.</summary>
    public required Uri Url { get; init; }

    /// <summary>A repository to write into; what is made stays there where the registry deletes nothing.</summary>
    public string Repository { get; init; } = "conformance/repo1";

    /// <summary>A second one, for mounts and for what must not cross repositories.</summary>
    public string OtherRepository { get; init; } = "conformance/repo2";

    public string? UserName { get; init; }
    public string? Password { get; init; }

    /// <summary>Take any certificate.</summary>
    public bool InsecureTls { get; init; }

    /// <summary>Only these categories; empty is all.</summary>
    public IReadOnlyList<string> Categories { get; init; } = [];

    /// <summary>Only checks whose id is one of these or begins with one of them; empty is all.</summary>
    public IReadOnlyList<string> Only { get; init; } = [];

    /// <summary>Checks, or beginnings of their ids, that are not to be made, and why.</summary>
    public IReadOnlyDictionary<string, string> Left { get; init; } = new Dictionary<string, string>();

    /// <summary>
    /// A platform that only this run builds for: jobs for it wait until the run plays the build node. The registry
    /// remembers that somebody offered it.
    /// </summary>
    public string Platform { get; init; } = "linux/mips64le";

    /// <summary>The address at which the registry reaches this machine, for hooks.</summary>
    public string HookHost { get; init; } = "127.0.0.1";

    /// <summary>How long one request may take, beyond what the registry was asked to wait.</summary>
    public TimeSpan RequestTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How long one check may take.</summary>
    public TimeSpan CheckTimeout { get; init; } = TimeSpan.FromMinutes(3);

    /// <summary>The longest that a check waits for something that takes the registry its time, as a lease that runs out.</summary>
    public TimeSpan Patience { get; init; } = TimeSpan.FromSeconds(90);

    /// <summary>
    /// Settings from the variables that the distribution specification's own suite knows, in its present names and its
    /// former ones; the present ones win. What is null or absent keeps its default.
    /// </summary>
    /// <param name="url">The address that was given beside them, or null.</param>
    /// <exception cref="ConformanceException">There is no address, or a value makes no sense.</exception>
    public static ConformanceOptions FromVariables(string? url, Func<string, string?> variable)
    {
        string? Value(params string[] names) =>
            names.Select(variable).FirstOrDefault(value => !string.IsNullOrEmpty(value));

        var left = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var (name, legacy, prefixes) in UpstreamVariables.Switches)
        {
            if (Value(name, legacy) is { } text && !IsOn(name, text))
            {
                foreach (var prefix in prefixes)
                {
                    left[prefix] = $"{name} is off";
                }
            }
        }

        UpstreamVariables.AddFormerWorkflows(variable, left);
        return new ConformanceOptions
        {
            Url = AddressOf(url ?? FromParts(Value("OCI_REGISTRY"), Value("OCI_TLS")) ?? Value("OCI_ROOT_URL")),
            Repository = Value("OCI_REPO1", "OCI_NAMESPACE") ?? "conformance/repo1",
            OtherRepository = Value("OCI_REPO2", "OCI_CROSSMOUNT_NAMESPACE") ?? "conformance/repo2",
            UserName = Value("OCI_USERNAME"),
            Password = Value("OCI_PASSWORD"),
            InsecureTls = Value("OCI_TLS") == "insecure",
            Left = left,
        };
    }

    private static bool IsOn(string name, string text) =>
        text.ToLower(CultureInfo.InvariantCulture) switch
        {
            "1" or "true" or "t" => true,
            "0" or "false" or "f" => false,
            _ => throw new ConformanceException($"{name} is '{text}'; it is true or false"),
        };

    private static string? FromParts(string? registry, string? tls) =>
        registry is null ? null : $"{(tls == "disabled" ? "http" : "https")}://{registry}";

    private static Uri AddressOf(string? text)
    {
        if (text is null)
        {
            throw new ConformanceException("name a registry, as http://HOST:PORT or https://HOST");
        }

        // A bare host is what people write: without TLS on loopback, with it elsewhere.
        if (!text.Contains("://", StringComparison.Ordinal))
        {
            text =
                (
                    Uri.TryCreate($"http://{text}", UriKind.Absolute, out var bare) && bare.IsLoopback
                        ? "http://"
                        : "https://"
                ) + text;
        }

        return
            Uri.TryCreate(text, UriKind.Absolute, out var uri)
            && (uri.Scheme == Uri.UriSchemeHttp || uri.Scheme == Uri.UriSchemeHttps)
            && uri.UserInfo.Length == 0
            && uri.AbsolutePath is "/" or "/v2" or "/v2/"
            ? new Uri(uri, "/")
            : throw new ConformanceException(
                $"'{text}' is no address of a registry, as http://HOST:PORT or https://HOST"
            );
    }
}
