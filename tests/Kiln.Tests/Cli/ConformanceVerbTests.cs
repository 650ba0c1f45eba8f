using System.Text;
using System.Xml.Linq;
using Kiln.Cli;
using Kiln.Tests.Access;
using Kiln.Tests.Conformance;

namespace Kiln.Tests.Cli;

/// <summary><c>kiln conformance</c> on the command line.</summary>
public sealed class ConformanceVerbTests
{
    [Fact]
    public async Task A_registry_that_is_right_gets_0_and_reports()
    {
        await using var server = await ConformanceServer.StartAsync();
        var directory = Directory.CreateTempSubdirectory("kiln-conformance-");
        var (junit, html) = (Path.Combine(directory.FullName, "j.xml"), Path.Combine(directory.FullName, "h.html"));
        var output = new StringWriter();
        string[] arguments =
        [
            "conformance",
            $"http://{server.Host}",
            "--category",
            "discover",
            "--report-junit",
            junit,
            "--report-html",
            html,
        ];

        Assert.Equal(0, await CommandLine.RunAsync(arguments, TestShell.Create(output)));

        Assert.Contains("discover.info ", output.ToString());
        Assert.EndsWith(" pass, 0 FAIL, 0 unsupported, 1 skipped", output.ToString().TrimEnd());
        var report = XDocument.Load(junit);
        Assert.Equal("0", report.Root!.Attribute("failures")!.Value);
        Assert.Contains(
            "discover.info",
            report
                .Descendants("testcase")
                .First(c => c.Attribute("name")!.Value.Contains("info"))
                .Attribute("name")!
                .Value
        );
        Assert.Contains(
            "GET /v2/_build/v1/info",
            await File.ReadAllTextAsync(html, TestContext.Current.CancellationToken)
        );
        directory.Delete(recursive: true);
    }

    [Fact]
    public async Task A_registry_that_is_wrong_gets_1_and_why()
    {
        await using var server = await ConformanceServer.StartAsync();
        var mutation = new Mutation(
            "no limits",
            "discover.info-limits",
            "GET",
            "/info$",
            e => e.Edit(json => json["limits"] = null)
        );
        await using var proxy = await BreakingProxy.StartAsync(new Uri($"http://{server.Host}"), mutation);
        var directory = Directory.CreateTempSubdirectory("kiln-conformance-");
        var output = new StringWriter();
        var shell = TestShell.Create(output) with
        {
            Variable = name =>
                name switch
                {
                    "OCI_ROOT_URL" => proxy.Url,
                    "OCI_NAMESPACE" => "old/one",
                    "OCI_CROSSMOUNT_NAMESPACE" => "old/two",
                    "OCI_RESULTS_DIR" => directory.FullName,
                    _ => null,
                },
        };

        Assert.Equal(1, await CommandLine.RunAsync(["conformance", "--category", "discover"], shell));

        Assert.Contains("FAIL        discover.info-limits", output.ToString());
        var failure = XDocument
            .Load(Path.Combine(directory.FullName, "junit.xml"))
            .Descendants("failure")
            .Select(f => f.Attribute("message")!.Value);
        Assert.Contains("the member 'limits' is missing", failure);
        Assert.True(File.Exists(Path.Combine(directory.FullName, "report.html")));
        directory.Delete(recursive: true);
    }

    [Fact]
    public async Task Checks_are_listed_without_a_registry()
    {
        var output = new StringWriter();

        Assert.Equal(
            0,
            await CommandLine.RunAsync(["conformance", "--list", "--category", "trigger"], TestShell.Create(output))
        );

        Assert.Contains("trigger.push", output.ToString());
        Assert.DoesNotContain("store.", output.ToString());
    }

    [Fact]
    public async Task A_login_that_podman_left_is_used()
    {
        await using var server = await AccessServer.StartAsync();
        var file = Path.GetTempFileName();
        var login = Convert.ToBase64String(Encoding.UTF8.GetBytes($"all:{AccessServer.PasswordOf("all")}"));
        var json = $$$$"""{"auths":{"{{{{server.Host}}}}":{"auth":"{{{{login}}}}"}}}""";
        await File.WriteAllTextAsync(file, json, TestContext.Current.CancellationToken);
        var output = new StringWriter();
        var shell = TestShell.Create(output) with { Variable = name => name == "REGISTRY_AUTH_FILE" ? file : null };
        string[] arguments = ["conformance", server.Host, "--check", "store.upload-put", "--repository", "team/a"];

        Assert.Equal(0, await CommandLine.RunAsync(arguments, shell));

        Assert.Contains("1 pass", output.ToString());
        File.Delete(file);
    }

    [Theory]
    [InlineData("name a registry")]
    [InlineData("no category 'all'", "http://127.0.0.1:1", "--category", "all")]
    [InlineData("is no address of a registry", "http://127.0.0.1:1/some/where")]
    [InlineData("no registry at", "http://127.0.0.1:1")]
    public async Task What_cannot_be_done_gets_2_and_why(string why, params string[] arguments)
    {
        var error = new StringWriter();

        Assert.Equal(2, await CommandLine.RunAsync(["conformance", .. arguments], TestShell.Create(error: error)));

        Assert.Contains(why, error.ToString());
    }
}
