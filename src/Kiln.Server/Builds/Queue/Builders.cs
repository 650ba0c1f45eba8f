using System.Collections.Concurrent;
using System.Data.Common;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Architectures;
using Kiln.BuildSpec.Recipes;
using Kiln.Node;
using Kiln.Oci;
using Kiln.Server.Metadata;

namespace Kiln.Server.Builds.Queue;

/// <summary>
/// What can be built here: by this server's own node, and by nodes elsewhere that have asked for work lately. One that is
/// away for a while still counts: what it can build may wait for it.
/// </summary>
internal sealed class Builders(NodeStatus local, Database database, BuildOptions options, TimeProvider time)
{
    /// <summary>Nodes of one principal that are remembered.</summary>
    private const int MaxNames = 32;
    private static readonly TimeSpan NoteInterval = TimeSpan.FromMinutes(1);

    /// <summary>
    /// How long a build waits for a node that does it natively before one that emulates may have it, and how long such a node
    /// counts as there after it has asked for work.
    /// </summary>
    public static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);
    private readonly ConcurrentDictionary<(string Principal, string Node), (string Document, long At)> _noted = new();

    /// <summary>What can be built for a requester, in the order of preference. Waits for the local node's look around.</summary>
    /// <param name="requester">Null for whoever it may be: without the nodes that build for their owners only.</param>
    public async Task<NodeAbilities> OfAsync(string? requester, CancellationToken cancel)
    {
        // In the moment after the start the node still looks at its machine: that is no reason to refuse.
        await local.Known.WaitAsync(cancel);
        var own = local.Abilities;
        var others = database.Read(c => Offers(c, requester)).ConvertAll(Taken);
        return others.Count == 0
            ? own
            : new NodeAbilities
            {
                Engines = Union(own.Engines, others.Select(o => o.Engines ?? [])),
                Platforms = Union(own.Platforms, others.Select(o => Parsed(o.Platforms))),
                EmulatedPlatforms = Union(own.EmulatedPlatforms, others.Select(o => Parsed(o.EmulatedPlatforms ?? []))),
                Microarchitectures = Union(own.Microarchitectures, others.Select(o => o.Microarchitectures ?? [])),
                RecipeTypes = Union(own.RecipeTypes, others.Select(o => o.Recipes.Where(r => r != RecipeTypes.Image))),
                Outputs = Union(own.Outputs, others.Select(OutputsOf)),
                Networks = Union(
                    own.Networks,
                    others.Select(o => o.Networks ?? [NetworkModes.Isolated, NetworkModes.None])
                ),
                Roots = Union(own.Roots, others.Select(o => o.Roots ?? [])),
                Resources = BuildResources.Most(others.Select(o => o.Resources).Prepend(own.Resources)),
            };
    }

    /// <summary>The same, each node by itself.</summary>
    public IReadOnlyList<OfferedNode> Each(string requester)
    {
        var own = local.Abilities;
        return
        [
            .. own.Platforms.Count == 0
                ? Array.Empty<OfferedNode>()
                :
                [
                    new OfferedNode("the registry itself", own.Platforms, own.Microarchitectures)
                    {
                        Claim = BuildNode.ClaimOf("the registry itself", own),
                    },
                ],
            .. database
                .Read(c => Offers(c, requester))
                .ConvertAll(Taken)
                .Select(o => new OfferedNode(o.Node, [.. Parsed(o.Platforms)], o.Microarchitectures ?? [])
                {
                    Claim = o,
                }),
        ];
    }

    /// <summary>A claim as it counts here: with all that it implies, and without what is not allowed.</summary>
    public LeaseClaim Taken(LeaseClaim claim) =>
        PlatformLevels.Widen(options.AllowEmulation ? claim : WithoutEmulation(claim));

    private static LeaseClaim WithoutEmulation(LeaseClaim claim) =>
        claim with
        {
            EmulatedPlatforms = null,
            Types = claim.Types?.Select(type => type with { EmulatedPlatforms = null }).ToList(),
        };

    /// <summary>Platforms that nodes build natively which have asked for work in the last minutes.</summary>
    public IReadOnlyList<string> Native(DbConnection connection) =>
        [
            .. connection
                .Query(
                    "SELECT document FROM nodes WHERE seen > @since AND personal = 0",
                    row => JsonSerializer.Deserialize(row.GetString(0), BuildJson.Default.LeaseClaim)!,
                    ("since", time.Milliseconds() - (long)Patience.TotalMilliseconds)
                )
                .SelectMany(claim => PlatformLevels.Widen(claim).Platforms)
                .Concat(local.Abilities.Platforms.Select(p => p.ToString()))
                .Distinct(StringComparer.Ordinal),
        ];

    /// <summary>Remembers a node that asks for work.</summary>
    /// <param name="personal">It builds its principal's own jobs only.</param>
    public async Task NoteAsync(string principal, LeaseClaim claim, bool personal, CancellationToken cancel)
    {
        var document = JsonSerializer.Serialize(claim with { Job = null }, BuildJson.Default.LeaseClaim);
        var now = time.Milliseconds();
        if (
            _noted.TryGetValue((principal, claim.Node), out var noted)
            && noted.Document == document
            && now - noted.At < NoteInterval.TotalMilliseconds
        )
        {
            return;
        }

        await database.WriteAsync(
            transaction =>
            {
                transaction.Run(
                    """
                    INSERT INTO nodes (principal, name, document, personal, seen)
                    VALUES (@principal, @name, @document, @personal, @now)
                    ON CONFLICT (principal, name) DO UPDATE
                    SET document = excluded.document, personal = excluded.personal, seen = excluded.seen
                    """,
                    ("principal", principal),
                    ("name", claim.Node),
                    ("document", document),
                    ("personal", personal ? 1 : 0),
                    ("now", now)
                );
                transaction.Run(
                    """
                    DELETE FROM nodes WHERE principal = @principal AND name NOT IN (
                        SELECT name FROM nodes WHERE principal = @principal ORDER BY seen DESC, name LIMIT @max)
                    """,
                    ("principal", principal),
                    ("max", MaxNames)
                );
            },
            cancel
        );
        if (_noted.Count > MaxNames * MaxNames)
        {
            _noted.Clear();
        }

        _noted[(principal, claim.Node)] = (document, now);
    }

    /// <summary>Forgets nodes that have been away for longer than anything may wait.</summary>
    public void Forget(DbTransaction transaction) =>
        transaction.Run("DELETE FROM nodes WHERE seen <= @before", ("before", Since()));

    private List<LeaseClaim> Offers(DbConnection connection, string? requester) =>
        connection.Query(
            """
            SELECT document FROM nodes WHERE seen > @since AND (personal = 0 OR principal = @requester)
            ORDER BY personal, principal, name
            """,
            row => JsonSerializer.Deserialize(row.GetString(0), BuildJson.Default.LeaseClaim)!,
            ("since", Since()),
            ("requester", requester ?? "")
        );

    private long Since() => time.Milliseconds() - (options.MaxQueueSeconds * 1000L);

    // What is made of images is offered by those that take images for a recipe.
    private static IEnumerable<string> OutputsOf(LeaseClaim claim) =>
        claim
            .Machines()
            .SelectMany(type =>
                (type.Outputs ?? []).Where(o =>
                    o == BuildOutput.Oci || type.Recipes?.Contains(RecipeTypes.Image, StringComparer.Ordinal) is true
                )
            );

    private static IEnumerable<Platform> Parsed(IReadOnlyList<string> platforms) =>
        platforms.Select(text => Platform.TryParse(text, out var platform) ? platform : null).OfType<Platform>();

    private static List<T> Union<T>(IEnumerable<T> first, IEnumerable<IEnumerable<T>> others) =>
        [.. first.Concat(others.SelectMany(o => o)).Distinct()];
}
