using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;
using Kiln.Server;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Kiln.Tests.Access;

/// <summary>A real server with a policy, some users, and a clock that tests move.</summary>
internal sealed class AccessServer : IAsyncDisposable
{
    /// <summary>Rights in <c>team/**</c> are in the users' names; everybody may pull <c>public/**</c>.</summary>
    public const string Policy = """
        htpasswd: users
        groups:
          admins: [root]
        rules:
          - { who: group:admins, repositories: "**", actions: admin }
          - { who: all, repositories: "team/**", actions: [pull, push, delete, build] }
          - { who: pull, repositories: "team/**", actions: pull }
          - { who: push, repositories: "team/**", actions: push }
          - { who: not-pull, repositories: "team/**", actions: [push, delete, build] }
          - { who: not-push, repositories: "team/**", actions: [pull, delete, build] }
          - { who: not-delete, repositories: "team/**", actions: [pull, push, build] }
          - { who: not-build, repositories: "team/**", actions: [pull, push, delete] }
          - { who: other, repositories: "other/**", actions: [pull, push] }
          - { who: everybody, repositories: "public/**", actions: pull }
          - { who: authenticated, repositories: "users/{user}/**", actions: [pull, push, delete, build] }
        limits:
          failed-logins-per-minute: 1000
        """;

    public static readonly string[] Users =
    [
        "root",
        "all",
        "pull",
        "push",
        "not-pull",
        "not-push",
        "not-delete",
        "not-build",
        "other",
        "nobody",
    ];

    private readonly string _directory;
    private readonly TestServer _server;

    private AccessServer(string directory, TestServer server, FakeTimeProvider time) =>
        (_directory, _server, Time) = (directory, server, time);

    public FakeTimeProvider Time { get; }
    public TestServer Server => _server;
    public HttpClient Http => _server.Http;
    public string Host => new Uri(_server.Url).Authority;
    public string PolicyFile => Path.Combine(_directory, "policy.yaml");
    public string HtpasswdFile => Path.Combine(_directory, "users");
    public string AuditFile => Path.Combine(_server.DataDirectory, "audit.log");

    public static string PasswordOf(string user) => $"secret of {user}";

    public static async Task<AccessServer> StartAsync(
        string policy = Policy,
        Func<ServerOptions, ServerOptions>? change = null
    )
    {
        var directory = Directory.CreateTempSubdirectory("kiln-access-").FullName;
        var time = new FakeTimeProvider(new DateTimeOffset(2026, 11, 23, 8, 0, 0, TimeSpan.Zero));
        await File.WriteAllTextAsync(Path.Combine(directory, "policy.yaml"), policy);
        await File.WriteAllTextAsync(Path.Combine(directory, "users"), Htpasswd(Users));
        var server = await TestServer.StartAsync(
            options =>
                (change ?? (o => o))(
                    options with
                    {
                        Access = options.Access with { PolicyFile = Path.Combine(directory, "policy.yaml") },
                    }
                ),
            services => services.AddSingleton<TimeProvider>(time)
        );
        return new AccessServer(directory, server, time);
    }

    /// <summary>Lines of a htpasswd file, with the cheapest hashes there are.</summary>
    public static string Htpasswd(params IEnumerable<string> users) =>
        string.Concat(users.Select(u => $"{u}:{BCrypt.Net.BCrypt.HashPassword(PasswordOf(u), workFactor: 4)}\n"));

    /// <summary>Replaces a file, and lets the time pass after which the server looks at it.</summary>
    public async Task ChangeAsync(string file, string text)
    {
        await File.WriteAllTextAsync(file, text);
        Time.Advance(TimeSpan.FromSeconds(2));
    }

    public static string Basic(string user, string? password = null) =>
        "Basic " + Convert.ToBase64String(Encoding.UTF8.GetBytes($"{user}:{password ?? PasswordOf(user)}"));

    /// <summary>Sends with an <c>Authorization</c> header, or without one where it is null.</summary>
    public async Task<HttpResponseMessage> SendAsync(
        string? authorization,
        string method,
        string path,
        params (string Name, string Value)[] headers
    )
    {
        using var request = new HttpRequestMessage(new HttpMethod(method), path);
        if (authorization is not null)
        {
            request.Headers.Authorization = AuthenticationHeaderValue.Parse(authorization);
        }

        foreach (var (name, value) in headers)
        {
            request.Headers.TryAddWithoutValidation(name, value);
        }

        return await Http.SendAsync(request);
    }

    /// <summary>Gets a bearer token for some scopes, as an <c>Authorization</c> header's value.</summary>
    /// <param name="authorization">Null for nobody.</param>
    public async Task<string> TokenAsync(string? authorization, params string[] scopes)
    {
        var answer = await TokenAnswerAsync(authorization, scopes);
        return "Bearer " + (string)answer["token"]!;
    }

    public async Task<JsonNode> TokenAnswerAsync(string? authorization, params string[] scopes)
    {
        var query = string.Concat(scopes.Select(s => $"&scope={Uri.EscapeDataString(s)}"));
        using var response = await SendAsync(authorization, "GET", $"/token?service=test{query}");
        var body = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, body);
        return JsonNode.Parse(body)!;
    }

    public IReadOnlyList<JsonNode> Audit()
    {
        using var stream = new FileStream(AuditFile, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        using var reader = new StreamReader(stream);
        return
        [
            .. reader.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => JsonNode.Parse(l)!),
        ];
    }

    public async ValueTask DisposeAsync()
    {
        await _server.DisposeAsync();
        Directory.Delete(_directory, recursive: true);
    }
}
