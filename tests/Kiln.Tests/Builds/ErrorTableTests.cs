using System.Net;
using System.Reflection;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Kiln.BuildSpec;
using Kiln.Node;
using Kiln.Oci;
using Kiln.Tests.Architecture;
using Kiln.Tests.Inspect;
using Kiln.Tests.Registry;

namespace Kiln.Tests.Builds;

/// <summary>The table of errors in the extension's text (section 12): each row provoked over HTTP, and no code beside it.</summary>
public sealed partial class ErrorTableTests
{
    private const string Jobs = "hpc/app/_build/v1/jobs";
    private const string Recipe = "\"recipe\":{\"mediaType\":\"text/x-dockerfile\",\"data\":\"RlJPTSBzY3JhdGNoCg==\"}";
    private const int MaxJobs = 40;
    private const string Absent = "sha256:aedb89a5df3fa243d839e938028fd8ad1ac145c0d926e0fe07bd59515d554ac2";
    private const string Failed = """{"state":"failed","reason":"recipe-error"}""";

    // The code and its status, and what gets it.
    private static readonly Dictionary<string, Func<BuildServer, Task<HttpResponseMessage>>> Provocations = new()
    {
        ["BUILD_UNKNOWN 404"] = s => GetAsync(s, $"{Jobs}/0190a0b0c0d0e0f0a0b0c0"),
        ["BUILD_REQUEST_INVALID 400"] = s => PostAsync(s, "{" + Recipe + ",\"mustUnderstand\":[\"nosuch\"]}"),
        ["BUILD_REQUEST_INVALID 413"] = s => s.PostAsync("", new string('#', 1001)),
        ["BUILD_RECIPE_UNKNOWN 404"] = s => PostAsync(s, "{\"recipe\":{\"digest\":\"" + Absent + "\"}}"),
        ["BUILD_RECIPE_INVALID 422"] = s => s.PostAsync("", "FROM scratch\nRUNN make\n"),
        ["BUILD_RECIPE_UNSUPPORTED 422"] = s => s.PostAsync("", "Bootstrap: scratch\n", BuildMediaTypes.Singularity),
        ["BUILD_PLATFORM_UNSUPPORTED 422"] = s => s.PostAsync("?platform=plan9/vax"),
        ["BUILD_OUTPUT_UNSUPPORTED 422"] = s => s.PostAsync("?output=iso"),
        ["BUILD_CONTEXT_TOO_LARGE 413"] = ContextAsync,
        ["BUILD_DISABLED 403"] = s =>
        {
            s.Offer(NodeAbilities.None("buildah is not installed"));
            return s.PostAsync("?tag=1.0");
        },
        ["BUILD_SECRET_UNKNOWN 404"] = s => PostAsync(s, "{" + Recipe + ",\"secrets\":[{\"id\":\"a\",\"ref\":\"x\"}]}"),
        ["BUILD_SECRET_INVALID 413"] = s =>
            SendAsync(s, "POST", "hpc/app/_build/v1/secrets", new string('s', (512 << 10) + 1)),
        ["BUILD_LOG_RANGE_INVALID 416"] = async s =>
        {
            var job = await s.SubmitAsync("");
            return await SendAsync(s, "GET", $"{Jobs}/{job.Id}/logs", null, ("Range", "bytes=10-"));
        },
        ["BUILD_LOG_RANGE_INVALID 413"] = async s =>
            await (await LeaseAsync(s)).LogAsync("0-299", new string('x', 300)),
        ["BUILD_STATE_INVALID 409"] = s =>
            SendAsync(s, "POST", "_build/v1/leases?job=0190a0b0c0d0e0f0a0b0c0", WireOffer),
        ["BUILD_LEASE_UNKNOWN 404"] = async s =>
        {
            var (one, other) = (await LeaseAsync(s), await LeaseAsync(s, "?arg.A=2"));
            return await one.SendAsync("PATCH", other.Path, "{}"u8.ToArray());
        },
        ["BUILD_LEASE_LOST 409"] = async s =>
        {
            var lease = await LeaseAsync(s);
            using var given = await lease.GiveBackAsync();
            return await lease.BeatAsync();
        },
        ["BUILD_LEASE_LOST 410"] = async s =>
        {
            var lease = await LeaseAsync(s);
            using var ended = await lease.ResultAsync(Failed);
            return await lease.BeatAsync();
        },
        ["BUILD_RESULT_INVALID 400"] = async s => await (await LeaseAsync(s)).ResultAsync("{}"),
        ["BUILD_HINTS_UNKNOWN 404"] = UnmeasuredAsync,
        ["BUILD_HOOK_INVALID 400"] = s =>
            SendAsync(
                s,
                "POST",
                "hpc/app/_build/v1/hooks",
                """{"url":"http://169.254.169.254/","events":["job.queued"]}"""
            ),
        ["BUILD_HOOK_UNKNOWN 404"] = s => GetAsync(s, "hpc/app/_build/v1/hooks/nosuch"),
        ["BUILD_IDEMPOTENCY_CONFLICT 422"] = async s =>
        {
            using var first = await KeyedAsync(s, "1.0", "k");
            return await KeyedAsync(s, "2.0", "k");
        },
        ["BUILD_IDEMPOTENCY_CONFLICT 409"] = MeanwhileAsync,
        ["TOOMANYREQUESTS 429"] = async s =>
        {
            for (var i = 0; i < MaxJobs; i++)
            {
                await s.SubmitAsync($"?arg.N={i}");
            }

            return await s.PostAsync($"?arg.N={MaxJobs}");
        },
        ["MANIFEST_BLOB_UNKNOWN 404"] = s => PostAsync(s, "{" + Recipe + Context(Absent, 20) + "}"),
        ["PAGINATION_NUMBER_INVALID 400"] = s => GetAsync(s, $"{Jobs}?n=many"),
    };

    private const string WireOffer =
        """{"node":"build03","platforms":["linux/amd64"],"recipes":["dockerfile"],"outputs":["oci"]}""";

    public static TheoryData<string> Table => [.. Written()];

    [Stateless]
    [Theory]
    [MemberData(nameof(Table))]
    public async Task Every_error_of_the_table_is_what_its_provocation_gets(string row)
    {
        Assert.True(Provocations.TryGetValue(row, out var provoke), $"nothing here provokes {row}");
        await using var server = await BuildServer.StartAsync(b =>
            b with
            {
                MaxRecipeBytes = 1000,
                MaxContextBytes = 100_000,
                MaxLogBytes = 200,
                MaxActiveJobs = MaxJobs,
            }
        );
        using var answer = await provoke(server);
        var (code, status) = (row.Split(' ')[0], int.Parse(row.Split(' ')[1], null));
        Assert.NotEmpty(await answer.ShouldFailAsync(status, code));
    }

    [Fact]
    public void Table_has_the_codes_of_the_program_and_each_is_provoked()
    {
        var codes = typeof(BuildErrors)
            .GetFields(BindingFlags.Public | BindingFlags.Static)
            .Select(field => (ErrorCode)field.GetValue(null)!)
            .Select(code => $"{code.Code} {code.Status}");
        Assert.Equal(
            codes.Order(StringComparer.Ordinal),
            Written().Where(row => row.StartsWith("BUILD_", StringComparison.Ordinal)).Order(StringComparer.Ordinal)
        );
        Assert.Equal(Provocations.Keys.Order(StringComparer.Ordinal), Written().Order(StringComparer.Ordinal));
    }

    private static IEnumerable<string> Written() =>
        File.ReadLines(Path.Combine(SourceTree.Root, "spec", "build-extension.md"))
            .SkipWhile(line => line != "## 12. Errors")
            .TakeWhile(line => !line.StartsWith("## 13", StringComparison.Ordinal))
            .Select(line => Row().Match(line))
            .Where(match => match.Success)
            .Select(match => $"{match.Groups[1].Value} {match.Groups[2].Value}");

    [GeneratedRegex(@"^\| `([A-Z_]+)` \| (\d{3}) \|")]
    private static partial Regex Row();

    private static Task<HttpResponseMessage> GetAsync(BuildServer server, string path) =>
        SendAsync(server, "GET", path, null);

    private static Task<HttpResponseMessage> PostAsync(BuildServer server, string request) =>
        SendAsync(server, "POST", Jobs, request);

    private static Task<HttpResponseMessage> SendAsync(
        BuildServer server,
        string method,
        string path,
        string? body,
        params (string Name, string Value)[] headers
    ) =>
        new WireNode(server.Http).SendAsync(
            null,
            method,
            path,
            body is null ? null : Encoding.UTF8.GetBytes(body),
            headers: headers
        );

    private static async Task<WireLease> LeaseAsync(BuildServer server, string query = "")
    {
        await server.SubmitAsync(query);
        return await new WireNode(server.Http).LeaseAsync();
    }

    private static string Context(string digest, long size) =>
        $",\"contexts\":[{{\"mediaType\":\"{BuildMediaTypes.Context}\",\"digest\":\"{digest}\",\"size\":{size}}}]";

    private static async Task<HttpResponseMessage> ContextAsync(BuildServer server)
    {
        var bomb = new Tars().File("zeros", new string('0', 200_000)).Gzip();
        var pushed = await server.PushBlobAsync(bomb, BuildMediaTypes.Context);
        return await PostAsync(server, "{" + Recipe + Context(pushed.Digest.ToString(), pushed.Size) + "}");
    }

    // A pushed image is measured on request, and nobody has asked.
    private static async Task<HttpResponseMessage> UnmeasuredAsync(BuildServer server)
    {
        var config = await server.PushBlobAsync(
            """{"os":"linux","architecture":"amd64"}"""u8.ToArray(),
            MediaTypes.OciConfig
        );
        var manifest = JsonSerializer.SerializeToUtf8Bytes(
            new ImageManifest
            {
                Config = config,
                Layers = [await server.PushBlobAsync(new Tars().File("a", "a").Gzip(), MediaTypes.OciLayerGzip)],
            },
            OciJson.Default.ImageManifest
        );
        var digest = Digest.Of(manifest);
        using var put = await new WireNode(server.Http).SendAsync(
            null,
            "PUT",
            $"hpc/app/manifests/{digest}",
            manifest,
            MediaTypes.OciManifest
        );
        Assert.Equal(HttpStatusCode.Created, put.StatusCode);
        return await GetAsync(server, $"hpc/app/_build/v1/hints?digest={digest}");
    }

    private static Task<HttpResponseMessage> KeyedAsync(BuildServer server, string tag, string key) =>
        SendAsync(
            server,
            "POST",
            Jobs,
            "{" + Recipe + $",\"cache\":{{\"policy\":\"none\"}},\"tags\":[\"{tag}\"]}}",
            ("Idempotency-Key", key)
        );

    // The second of two at once, which meet in most rounds.
    private static async Task<HttpResponseMessage> MeanwhileAsync(BuildServer server)
    {
        for (var round = 0; ; round++)
        {
            var answers = await Task.WhenAll(
                Enumerable.Range(0, 8).Select(_ => KeyedAsync(server, "1.0", $"k{round}"))
            );
            var met = answers.FirstOrDefault(a => a.StatusCode == HttpStatusCode.Conflict) ?? answers[0];
            foreach (var answer in answers.Where(a => a != met))
            {
                answer.Dispose();
            }

            if (met.StatusCode == HttpStatusCode.Conflict || round == MaxJobs - 1)
            {
                return met;
            }

            met.Dispose();
        }
    }
}
