using System.Text.Json.Nodes;
using Kiln.Conformance.Wire;

namespace Kiln.Conformance.Node;

/// <summary>
/// The build node that the run plays. It offers a platform that nobody else builds for, and takes only jobs of the run.
/// </summary>
internal sealed class PlayedNode
{
    private readonly Session _session;

    private PlayedNode(Session session) => _session = session;

    /// <summary>What it builds for.</summary>
    public string Platform => _session.Options.Platform;

    /// <summary>A second one, for jobs of two targets: the same with a variant.</summary>
    public string OtherPlatform =>
        Platform.Split('/') is [var os, var architecture, ..] ? $"{os}/{architecture}/other" : Platform;

    /// <summary>Offers itself to the registry, which from then on takes requests for its platform.</summary>
    /// <exception cref="SkippedException">It may not.</exception>
    public static async Task<PlayedNode> StartAsync(Session session)
    {
        var categories = (await session.InfoAsync()).Texts("categories");
        if (!categories.Contains(Categories.Node, StringComparer.Ordinal))
        {
            throw new SkippedException("needs a build node, which cannot be played: info does not list 'node'");
        }

        var node = new PlayedNode(session);
        var answer = await node.OfferAsync();
        if (answer.Status is 401 or 403)
        {
            throw new SkippedException(
                $"needs a build node, which these credentials may not be: answered {answer.Status}"
            );
        }

        if (answer.Status == 201)
        {
            // Somebody else's: it goes back at once.
            await new PlayedLease(session, answer).GiveBackAsync();
            throw new SkippedException($"somebody else's job waits for {node.Platform}; name another platform");
        }

        answer.Needed("a build node");
        return node;
    }

    /// <summary>The claim as JSON.</summary>
    public JsonObject Offer(string? job = null)
    {
        var offer = new JsonObject
        {
            ["node"] = "conformance",
            ["platforms"] = new JsonArray(Platform, OtherPlatform),
            ["recipes"] = new JsonArray("dockerfile"),
            ["outputs"] = new JsonArray("oci"),
            ["engines"] = new JsonArray("conformance 1.0"),
        };
        if (job is not null)
        {
            offer["job"] = job;
        }

        return offer;
    }

    public Task<Answer> OfferAsync(JsonObject? offer = null, Func<Call, Call>? change = null)
    {
        var call = new Call("POST", _session.At("_build/v1/leases")).WithJson(offer ?? Offer());
        return _session.SendAsync(change?.Invoke(call) ?? call);
    }

    /// <summary>Takes a task of a job that the registry lets nobody have for a while.</summary>
    public async Task<PlayedLease> NextAsync(JsonNode job, JsonObject? offer = null) =>
        await _session.UntilAsync(
            async () =>
                await OfferAsync(offer ?? Offer(job.Text("id"))) is { Status: 201 } answer
                    ? new PlayedLease(_session, answer)
                    : null,
            "another attempt"
        );

    /// <summary>Takes a task of a job; where that is not what the check is about.</summary>
    public async Task<PlayedLease> ClaimAsync(JsonNode job)
    {
        var answer = await OfferAsync(Offer(job.Text("id")));
        if (answer.Status != 201)
        {
            throw new SkippedException($"a lease is needed first: the claim was answered {answer.Status}");
        }

        return new PlayedLease(_session, answer);
    }
}
