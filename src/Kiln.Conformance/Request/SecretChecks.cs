using System.Text;
using System.Text.Json.Nodes;
using Kiln.Conformance.Wire;

namespace Kiln.Conformance.Request;

/// <summary>Secrets: section 9 of the <c>_build</c> extension.</summary>
internal static class SecretChecks
{
    public static IReadOnlyList<Check> All { get; } =
    [
        new("request.secret", "a secret is uploaded, and cannot be read back", "X-1", UploadAsync),
        new("request.secret-size", "a secret has 512 KiB at most", "X-1", SizeAsync),
        new("request.secret-distinct", "no two secrets of a request have one id", "X-2", DistinctAsync),
        new("request.secret-once", "a secret serves one job", "X-2", OnceAsync),
        new("request.secret-repository", "a secret serves its repository", "X-2", RepositoryAsync),
        new("request.secret-lease", "a secret comes to the node with the lease", "X-3", LeaseAsync),
        new("request.secret-other-lease", "and to no other job's", "X-3", OtherLeaseAsync),
        new("request.secret-hidden", "a secret's value is not in the job or its key", "X-4", HiddenAsync),
        new("request.secret-masked", "a secret's value is not in the log or the message", "X-5", MaskedAsync),
    ];

    /// <summary>Uploads a value, where that is not what the check is about; its <c>ref</c>.</summary>
    public static async Task<string> UploadAsync(Session session, string value, string? repository = null)
    {
        var answer = (await PostAsync(session, value, repository)).Needed("a secret");
        return answer.Json().MaybeText("ref") ?? throw new SkippedException("a secret's ref is needed first");
    }

    private static async Task UploadAsync(Session session)
    {
        var answer = (await PostAsync(session, "swordfish")).Must(201).MustBe(Types.Secret);
        var name = answer.Json().Text("ref");
        answer.Json().Text("expires");
        foreach (var path in new[] { "secrets", $"secrets/{name}" })
        {
            if ((await session.GetAsync(session.At($"_build/v1/{path}"))) is { IsSuccess: true } read)
            {
                throw read.Failure($"answered {read.Status}: secrets can be read");
            }
        }
    }

    private static async Task SizeAsync(Session session)
    {
        (await PostAsync(session, new string('x', 512 << 10))).MustSucceed();
        (await PostAsync(session, new string('x', (512 << 10) + 1))).MustFail(413, "BUILD_SECRET_INVALID");
    }

    private static async Task DistinctAsync(Session session)
    {
        var request = await WithSecretAsync(session, await UploadAsync(session, Session.Unique()));
        request["secrets"]!
            .AsArray()
            .Add((JsonNode)new JsonObject { ["id"] = "s", ["ref"] = await UploadAsync(session, Session.Unique()) });
        (await Jobs.PostAsync(session, request)).MustFail(400, "BUILD_REQUEST_INVALID");
    }

    private static async Task OnceAsync(Session session)
    {
        var request = await WithSecretAsync(session, await UploadAsync(session, Session.Unique()));
        await Jobs.NewAsync(session, request);
        (await Jobs.PostAsync(session, request)).MustFail(404, "BUILD_SECRET_UNKNOWN");
    }

    private static async Task RepositoryAsync(Session session)
    {
        await session.PushAsync(Content.ItemOf(Content.Random(8)), session.Other);
        var request = await WithSecretAsync(session, await UploadAsync(session, Session.Unique()));
        (await Jobs.PostAsync(session, request, repository: session.Other)).MustFail(404, "BUILD_SECRET_UNKNOWN");
    }

    private static async Task LeaseAsync(Session session)
    {
        var value = Session.Unique();
        var node = await session.NodeAsync();
        var job = await Jobs.NewAsync(session, await WithSecretAsync(session, await UploadAsync(session, value)));
        var task = (await node.ClaimAsync(job)).Task;
        if (!task.Texts("secretIds").SequenceEqual(["s"], StringComparer.Ordinal))
        {
            throw new CheckFailedException("'secretIds' does not have the secret's id");
        }

        var secret = task.Items("secrets").Count == 1 ? task.First("secrets") : null;
        secret.MustHave("id", "s");
        secret.MustHave("value", Convert.ToBase64String(Encoding.UTF8.GetBytes(value)));
    }

    private static async Task OtherLeaseAsync(Session session)
    {
        var value = Session.Unique();
        var node = await session.NodeAsync();
        await Jobs.NewAsync(session, await WithSecretAsync(session, await UploadAsync(session, value)));
        var lease = (await node.ClaimAsync(await Jobs.NewAsync(session))).Document.ToJsonString();
        if (lease.Contains(Convert.ToBase64String(Encoding.UTF8.GetBytes(value)), StringComparison.Ordinal))
        {
            throw new CheckFailedException("the lease of another job has the secret's value");
        }
    }

    private static async Task HiddenAsync(Session session)
    {
        var value = Session.Unique();
        var recipe = Jobs.Recipe();
        var keys = new HashSet<string>(StringComparer.Ordinal);
        foreach (var one in new[] { value, Session.Unique() })
        {
            var request = await WithSecretAsync(session, await UploadAsync(session, one), recipe);
            var answer = await session.GetAsync(Jobs.At(session, await Jobs.NewAsync(session, request)));
            keys.Add(Jobs.Task(answer.Needed("the job").Json()).Text("key"));
            if (answer.Text.Contains(value, StringComparison.Ordinal))
            {
                throw answer.Failure("has the secret's value");
            }
        }

        if (keys.Count != 1)
        {
            throw new CheckFailedException("the key depends on the secret's value");
        }
    }

    private static async Task MaskedAsync(Session session)
    {
        var value = Session.Unique();
        var node = await session.NodeAsync();
        var job = await Jobs.NewAsync(session, await WithSecretAsync(session, await UploadAsync(session, value)));
        var lease = await node.ClaimAsync(job);
        (await lease.LogAsync(0, $"it is {value[..5]}")).Needed("a log");
        (await lease.LogAsync(11, $"{value[5..]}!\n")).Needed("a log");
        var failed = Node.PlayedLease.Failed();
        failed["message"] = $"said {value}";
        (await lease.ResultAsync(failed)).Needed("a result");
        var log = (await session.GetAsync(Jobs.At(session, job, "/logs"))).Needed("the log");
        if (
            log.Text.Contains(value, StringComparison.Ordinal)
            || !log.Text.Contains("it is ***!", StringComparison.Ordinal)
        )
        {
            throw log.Failure("has not *** where the node wrote the secret's value");
        }

        if ((await Jobs.NowAsync(session, job)).MaybeText("message")?.Contains(value, StringComparison.Ordinal) is true)
        {
            throw new CheckFailedException("the job's message has the secret's value");
        }
    }

    private static Task<Answer> PostAsync(Session session, string value, string? repository = null) =>
        session.SendAsync(
            new Call("POST", $"/v2/{repository ?? session.Repository}/_build/v1/secrets").WithBody(
                Encoding.UTF8.GetBytes(value),
                Types.OctetStream
            )
        );

    private static async Task<JsonObject> WithSecretAsync(Session session, string secret, string? recipe = null)
    {
        var request = await Jobs.RequestAsync(session, recipe);
        request["secrets"] = Json.ArrayOf(new JsonObject { ["id"] = "s", ["ref"] = secret });
        return request;
    }
}
