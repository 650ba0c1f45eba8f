using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Cli;
using Kiln.Tests.Client;
using Microsoft.AspNetCore.Http;

namespace Kiln.Tests.Cli;

/// <summary>Exit codes and what stands on standard output and standard error, against a registry that plays each part.</summary>
public sealed class CommandLineTests : IAsyncLifetime
{
    private const string Done =
        """{"id":"j1","repository":"a","href":"/v2/a/_build/v1/jobs/j1","revision":3,"created":"2026-01-01T00:00:00Z","createdBy":"me","trigger":"request","recipe":{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","type":"dockerfile"},"tags":["1"],"links":{"logs":"x","cancel":"x"},"tasks":[{"id":"t1","platform":"linux/amd64","format":"oci","state":"running","attempt":1,"key":"k","execution":"e","logs":"x"}],""";

    private static readonly string Delivered =
        $$"""{"manifest":{"mediaType":"x/y","digest":"{{Oci.Digest.EmptyJson}}","size":2},"tags":["1"],"outputs":[]}""";

    private readonly StringWriter _out = new();
    private readonly StringWriter _error = new();
    private readonly string _folder = Directory.CreateTempSubdirectory("kiln-cli-").FullName;
    private TestRegistry _registry = null!;
    private JobRequest? _request;

    public async ValueTask InitializeAsync()
    {
        _registry = await TestRegistry.StartAsync();
        await File.WriteAllTextAsync(Path.Combine(_folder, "Containerfile"), "FROM scratch\nCOPY . /\n");
    }

    public async ValueTask DisposeAsync()
    {
        await _registry.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public async Task A_build_that_succeeds_prints_its_digest_alone_on_standard_output()
    {
        Builds("succeeded", Delivered);

        var code = await RunAsync(
            "build",
            "-t",
            $"{_registry.Host}/a:1",
            "--build-arg",
            "K=V=W",
            "--label",
            "l=1",
            "--platform",
            "linux/amd64/v3",
            _folder
        );

        Assert.Equal("", code == 0 ? "" : _error.ToString());
        Assert.Equal($"{Oci.Digest.EmptyJson}\n", _out.ToString());
        Assert.Contains("#1 [1/2] RUN make\n    hello\n#1 [1/2] RUN make … 2.1s\n", _error.ToString());
        Assert.Equal("V=W", _request!.Args!["K"]);
        Assert.Equal("v3", _request.Targets!.Single().Platform.Variant);
        Assert.Equal(["1"], _request.Tags);
        Assert.True(_registry.Blobs.ContainsKey(_request.Contexts!.Single().Digest.ToString()));
    }

    [Fact]
    public async Task Conditions_of_a_build_are_members_that_the_registry_has_to_understand()
    {
        Builds("succeeded", Delivered);

        var code = await RunAsync([
            .. $"build -t {_registry.Host}/a:1 --cpus 2 --memory 3G --disk 4096 --gpus 1 --backend partition=long".Split(
                ' '
            ),
            .. "--cache refresh --max-age 60 --queue-timeout 90".Split(' '),
            .. $"--source-date-epoch 1700000000 --tag-policy create-only --partial {_folder}".Split(' '),
        ]);

        Assert.Equal("", code == 0 ? "" : _error.ToString());
        Assert.Equal(
            new BuildResources
            {
                Cpus = 2,
                MemoryBytes = 3L << 30,
                DiskBytes = 4096,
                Gpus = 1,
            },
            _request!.Resources
        );
        Assert.Equal("long", _request.Backend!["partition"]);
        Assert.Equal(new CacheOptions { Policy = "refresh", MaxAgeSeconds = 60 }, _request.Cache);
        Assert.Equal(90, _request.QueueSeconds);
        Assert.Equal(1_700_000_000, _request.Reproducible!.SourceDateEpoch);
        Assert.Equal("create-only", _request.TagPolicy);
        Assert.True(_request.Partial);
        Assert.Equal(["resources", "backend", "reproducible", "tagPolicy"], _request.MustUnderstand);
    }

    [Theory]
    [InlineData("failed", "recipe-error", ExitCodes.RecipeFailed)]
    [InlineData("failed", "timeout", ExitCodes.RecipeFailed)]
    [InlineData("failed", "limit-exceeded", ExitCodes.RecipeFailed)]
    [InlineData("failed", "no-builder", ExitCodes.NotPossible)]
    [InlineData("failed", "system-error", ExitCodes.NotPossible)]
    [InlineData("canceled", null, ExitCodes.Canceled)]
    public async Task How_a_job_ended_is_the_exit_code(string state, string? reason, int expected)
    {
        Builds(state, "null", reason);

        Assert.Equal(expected, await RunAsync("build", "-t", $"{_registry.Host}/a:1", _folder));
        Assert.Contains(reason is null ? "cancelled" : "exit status 2", _error.ToString());
        Assert.Equal("", _out.ToString());
    }

    [Fact]
    public async Task Json_is_one_object_a_line_and_the_last_is_the_job()
    {
        Builds("failed", "null", "recipe-error");

        Assert.Equal(1, await RunAsync("build", "-t", $"{_registry.Host}/a:1", "--json", _folder));

        var types = _out.ToString()
            .TrimEnd()
            .Split('\n')
            .Select(l => JsonDocument.Parse(l).RootElement.GetProperty("type").GetString());
        Assert.Equal(["job", "step", "log", "step", "job"], types);
        Assert.Contains("\"message\":\"step 2: exit status 2\"", _out.ToString().Split('\n')[^2]);
    }

    [Fact]
    public async Task A_detached_build_prints_its_id_and_is_left()
    {
        Builds("succeeded", "null");

        Assert.Equal(0, await RunAsync("build", "-t", $"{_registry.Host}/a:1", "--detach", _folder));

        Assert.Equal("j1\n", _out.ToString());
        Assert.DoesNotContain(_registry.Requests, r => r.Contains("/logs"));
    }

    [Theory]
    [InlineData("build")]
    [InlineData("build", "-t", "noregistry:1")]
    [InlineData("build", "-t", "HOST/UPPER:1")]
    [InlineData("build", "-t", "HOST/a:1", "-t", "HOST/b:1")]
    [InlineData("build", "-t", "HOST/a:1", "--network", "wrong")]
    [InlineData("build", "-t", "HOST/a:1", "--platform", "vax")]
    [InlineData("build", "-t", "HOST/a:1", "--secret", "nonsense")]
    [InlineData("build", "-t", "HOST/a:1", "--memory", "lots")]
    [InlineData("build", "-t", "HOST/a:1", "--backend", "=long")]
    [InlineData("build", "-t", "HOST/a:1", "--backend", "partition", "CONTEXT")]
    [InlineData("build", "-t", "HOST/a:1", "--label", "nolabel", "CONTEXT")]
    [InlineData("push", "HOST/a:1.recipe", "--label", "nolabel", "CONTEXT")]
    [InlineData("build", "-t", "HOST/a:1", "--cache", "sometimes")]
    [InlineData("build", "-t", "HOST/a:1", "--no-cache", "--cache", "reuse")]
    [InlineData("build", "-t", "HOST/a:1", "--no-cache", "--max-age", "60")]
    [InlineData("build", "-t", "HOST/a:1", "--tag-policy", "never")]
    [InlineData("build", "-t", "HOST/a:1", "/nonexistent")]
    [InlineData("build", "-t", "HOST/a:1", "-f", "nonexistent")]
    [InlineData("cancel", "HOST/a")]
    [InlineData("logs", "HOST/a", "UPPER")]
    [InlineData("jobs", "HOST/a:1")]
    [InlineData("inspect", "HOST/none:1")]
    [InlineData("info", "http://HOST")]
    [InlineData("nonsense")]
    public async Task A_command_that_is_not_understood_ends_with_2_and_says_why(params string[] arguments)
    {
        Builds("succeeded", "null");

        var code = await RunAsync([
            .. arguments.Select(a => a.Replace("HOST", _registry.Host).Replace("CONTEXT", _folder)),
        ]);

        Assert.Equal(ExitCodes.Usage, code);
        Assert.StartsWith("kiln: ", _error.ToString());
        Assert.DoesNotContain("   at ", _error.ToString());
    }

    [Theory]
    [InlineData("127.0.0.1:1/a:1", "kiln serve")]
    [InlineData("HOST/a:1", "does not have the _build extension")]
    public async Task A_registry_that_is_not_there_or_does_not_build_ends_with_3(string image, string hint)
    {
        var code = await RunAsync("build", "-t", image.Replace("HOST", _registry.Host), _folder);

        Assert.Equal(ExitCodes.NotPossible, code);
        Assert.Contains(hint, _error.ToString());
    }

    [Fact]
    public async Task A_refused_login_ends_with_3_and_says_how_to_log_in()
    {
        _registry.Intercept = http =>
        {
            http.Response.StatusCode = 401;
            return Task.FromResult(true);
        };

        Assert.Equal(ExitCodes.NotPossible, await RunAsync("info", _registry.Host));
        Assert.Contains($"podman login {_registry.Host}", _error.ToString());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task What_answers_on_loopback_with_TLS_only_is_told_from_what_does_not_answer(bool isProxy)
    {
        // What nginx says to plain HTTP on a port with TLS, and what a server does that speaks TLS only.
        _registry.Intercept = http =>
        {
            http.Response.StatusCode = 400;
            return Task.FromResult(true);
        };
        using var server = new TcpListener(IPAddress.Loopback, 0);
        server.Start();
        _ = HangUpAsync(server);

        var host = isProxy ? _registry.Host : server.LocalEndpoint.ToString()!;
        await RunAsync("info", host);

        Assert.Contains($"{host} answers, but not without TLS", _error.ToString());
        Assert.DoesNotContain("Is 'kiln serve' running there?", _error.ToString());
    }

    private static async Task HangUpAsync(TcpListener server)
    {
        var request = new byte[4096];
        try
        {
            while (true)
            {
                using var client = await server.AcceptTcpClientAsync();
                _ = await client.GetStream().ReadAsync(request);
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // The test is over.
        }
    }

    [Fact]
    public async Task A_node_is_not_sent_to_loopback_with_TLS_which_it_would_not_speak()
    {
        Assert.Equal(ExitCodes.Usage, await RunAsync("node", "--server", $"https://{_registry.Host}"));
        Assert.Contains("loopback is spoken to without TLS", _error.ToString());
        Assert.Empty(_registry.Requests);
    }

    [Fact]
    public async Task A_recipe_comes_from_standard_input_without_a_context()
    {
        Builds("succeeded", "null");

        await RunWithInputAsync("FROM scratch\n", "build", "-t", $"{_registry.Host}/a:1", "--detach", "-");

        Assert.Equal("FROM scratch\n"u8.ToArray(), _request!.Recipe!.Data);
        Assert.Null(_request.Contexts);
    }

    [Fact]
    public async Task A_pushed_recipe_is_an_artifact_and_the_registrys_words_are_shown()
    {
        _registry.Intercept = http =>
        {
            if (http.Request.Path.Value!.EndsWith("/manifests/1.recipe"))
            {
                http.Response.Headers["Warning"] = "299 - \"build j1 queued\"";
            }

            return Task.FromResult(false);
        };

        Assert.Equal(
            0,
            await RunAsync("push", $"{_registry.Host}/a:1.recipe", "--deliver", "1", "--build-arg", "K=V", _folder)
        );

        using var manifest = JsonDocument.Parse(_registry.Manifests["1.recipe"].Bytes);
        var root = manifest.RootElement;
        Assert.Equal(BuildMediaTypes.Recipe, root.GetProperty("artifactType").GetString());
        Assert.Equal("1", root.GetProperty("annotations").GetProperty(RecipeAnnotations.Tags).GetString());
        Assert.Equal("V", root.GetProperty("annotations").GetProperty(RecipeAnnotations.ArgPrefix + "K").GetString());
        Assert.Equal(
            [BuildMediaTypes.Dockerfile, BuildMediaTypes.Context],
            root.GetProperty("layers").EnumerateArray().Select(l => l.GetProperty("mediaType").GetString())
        );
        Assert.Equal("build j1 queued\n", _error.ToString());
    }

    private Task<int> RunAsync(params string[] arguments) =>
        CommandLine.RunAsync(arguments, TestShell.Create(_out, _error));

    private Task<int> RunWithInputAsync(string input, params string[] arguments) =>
        CommandLine.RunAsync(arguments, TestShell.Create(_out, _error, input));

    /// <summary>The registry builds, and every job ends so.</summary>
    private void Builds(string state, string result, string? reason = null) =>
        _registry.Intercept = async http =>
        {
            var path = http.Request.Path.Value!;
            if (path.EndsWith("/info"))
            {
                await http.Response.WriteAsync(
                    """{"categories":[],"recipes":[],"platforms":["linux/amd64"],"outputs":[],"trigger":{"onPush":"on"},"limits":{"maxWaitSeconds":50,"maxJobSeconds":9,"maxQueueSeconds":9,"maxContextBytes":1000000,"maxInlineRecipeBytes":9,"maxLogBytes":9},"engines":[],"networks":[]}"""
                );
            }
            else if (path.EndsWith("/jobs"))
            {
                _request = await http.Request.ReadFromJsonAsync(BuildJson.Default.JobRequest);
                http.Response.StatusCode = 202;
                await http.Response.WriteAsync(Done + "\"state\":\"queued\",\"done\":false}");
            }
            else if (path.EndsWith("/logs"))
            {
                http.Response.ContentType = "text/event-stream";
                const string Step = """{"number":1,"total":2,"text":"RUN make" """;
                await http.Response.WriteAsync(
                    $"event: state\ndata: {{\"state\":\"running\",\"done\":false,\"steps\":[{Step}}}]}}\n\n"
                        + "id: 6\nevent: log\ndata: {\"text\":\"hello\\n\"}\n\n"
                        + $"event: state\ndata: {{\"state\":\"running\",\"done\":false,\"steps\":[{Step},\"milliseconds\":2100}}]}}\n\n"
                        + "event: end\ndata: {}\n\n"
                );
            }
            else if (path.EndsWith("/jobs/j1"))
            {
                var why = reason is null ? "" : $",\"reason\":\"{reason}\",\"message\":\"step 2: exit status 2\"";
                await http.Response.WriteAsync($"{Done}\"state\":\"{state}\",\"done\":true,\"result\":{result}{why}}}");
            }
            else
            {
                return false;
            }

            return true;
        };
}
