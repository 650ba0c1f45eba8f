using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;
using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>A registry with a policy: alice may pull the private base, bob may not; both may build in <c>team</c>.</summary>
public sealed class PolicyServer(Machine machine) : Server(machine)
{
    private readonly Machine _machine = machine;

    protected override IReadOnlyList<string> Options
    {
        get
        {
            // Passwords are alice-pw and bob-pw.
            _machine.WriteFile(
                """
                alice:$2y$04$Og6BUQE1U/fy4zSXpSP6k.yqdMNMPRF8kg3xVwVU6j/2szUrFUyea
                bob:$2y$04$IoW.H5liZDV1UVjQB6YHAOPorDDkt8FDe5jmXNU/OHBtKWgvJ3KDW

                """,
                "policy",
                "users"
            );
            var policy = _machine.WriteFile(
                """
                htpasswd: users
                rules:
                  - { who: [alice, bob], repositories: "team/**", actions: [pull, push, build] }
                  - { who: alice, repositories: "private/**", actions: [pull, push] }
                """,
                "policy",
                "policy.yaml"
            );
            return ["--policy", policy];
        }
    }
}

/// <summary>Builds stand for whoever asked for them: on a base of this registry that not everybody may pull.</summary>
public sealed class PrivateBaseTests(Machine machine, PolicyServer server) : IClassFixture<PolicyServer>
{
    [Fact]
    public async Task Only_those_who_may_pull_a_private_base_build_on_it_or_get_what_others_built()
    {
        machine
            .RunAsUser(
                "skopeo",
                "copy",
                "-q",
                "--dest-tls-verify=false",
                "--dest-creds=alice:alice-pw",
                $"oci:{BaseImages.Busybox(machine)}:latest",
                $"docker://{server.Host}/private/base:1"
            )
            .Ok();
        var recipe = $"FROM {server.Host}/private/base:1\nRUN echo built >/built\n";

        // Before anybody has built it, and after: the result of alice's build is no answer for bob.
        var early = await BuildAsync("bob", recipe);
        Assert.Equal("failed", Builds.Text(early, "state"));
        var alice = await BuildAsync("alice", recipe);
        Assert.True(Builds.Text(alice, "state") == "succeeded", $"{alice}\n{server.Log()}");
        var again = await BuildAsync("alice", recipe);
        var late = await BuildAsync("bob", recipe);

        Assert.True(again["tasks"]![0]!["cached"]!.GetValue<bool>());
        foreach (var refused in new[] { early, late })
        {
            Assert.Equal("failed", Builds.Text(refused, "state"));
            Assert.Contains("recipe-error", refused.ToJsonString());
            Assert.Contains("bob may not pull in repository private/base", refused.ToJsonString());
        }
    }

    private async Task<JsonNode> BuildAsync(string user, string recipe)
    {
        using var http = new HttpClient { BaseAddress = server.Http.BaseAddress };
        http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue(
            "Basic",
            Convert.ToBase64String(Encoding.UTF8.GetBytes($"{user}:{user}-pw"))
        );
        using var answer = await http.PostAsync(
            $"/v2/team/app/_build/v1/jobs?tag={user}",
            new StringContent(recipe, Encoding.UTF8, new MediaTypeHeaderValue("text/x-dockerfile"))
        );
        var body = await answer.Content.ReadAsStringAsync();
        Assert.True(answer.IsSuccessStatusCode, $"{(int)answer.StatusCode}: {body}");
        var href = answer.Headers.Location!.ToString();
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(8));
        while (true)
        {
            using var ask = new HttpRequestMessage(HttpMethod.Get, href);
            ask.Headers.Add("Prefer", "wait=20");
            using var told = await http.SendAsync(ask, patience.Token);
            var job = JsonNode.Parse(await told.Content.ReadAsStringAsync(patience.Token))!;
            if (job["done"]!.GetValue<bool>())
            {
                return job;
            }
        }
    }
}
