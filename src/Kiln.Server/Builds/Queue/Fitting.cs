using System.Data.Common;
using System.Globalization;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Recipes;
using Kiln.Server.Metadata;

namespace Kiln.Server.Builds.Queue;

/// <summary>What of the queue a node may build by emulation.</summary>
/// <param name="Native">Platforms that nodes which are there build natively: they get them first.</param>
/// <param name="Before">What was queued before, in milliseconds since 1970, waits for those no longer.</param>
internal sealed record AllowedEmulation(IReadOnlyList<string> Native, long Before);

/// <summary>What of the queue fits what a node offers (build-extension, N-1), as a condition on executions <c>e</c>.</summary>
internal static class Fitting
{
    // Different words to back ends that one look considers; nobody waits with so many at one time.
    private const int MaxBackends = 1000;

    // What an execution needs, in the order of BuildResources.List.
    private static readonly IReadOnlyList<string> ResourceColumns = ["cpus", "memory_bytes", "disk_bytes", "gpus"];

    /// <summary>A request's <c>backend</c> as its column has it: equal ones are the same text.</summary>
    public static string BackendOf(IReadOnlyDictionary<string, string>? backend) =>
        backend is null or { Count: 0 }
            ? ""
            : JsonSerializer.Serialize(
                new SortedDictionary<string, string>(new Dictionary<string, string>(backend), StringComparer.Ordinal),
                BuildJson.Default.SortedDictionaryStringString
            );

    /// <summary>Whether a node, or a type of its machines, emulates anything.</summary>
    public static bool Emulates(LeaseClaim claim) =>
        claim.Machines().Any(type => type.EmulatedPlatforms is { Count: > 0 });

    /// <summary>Whether no machine of a node that has it all runs the programs of an execution's platform by itself.</summary>
    public static bool IsEmulated(DbConnection connection, string execution, LeaseClaim claim)
    {
        if (!Emulates(claim))
        {
            return false;
        }

        var values = new List<(string, object?)> { ("id", execution) };
        var natively = Of(connection, claim, emulation: null, values);
        return connection.Scalar<long>(
                $"SELECT COUNT(*) FROM executions e WHERE e.id = @id AND {natively}",
                [.. values]
            ) == 0;
    }

    /// <summary>The condition; its values are added to <paramref name="values"/>.</summary>
    /// <param name="connection">Where the queue is.</param>
    /// <param name="claim">What the node offers.</param>
    /// <param name="emulation">Null where it gets nothing that it would have to emulate.</param>
    /// <param name="values">Of the condition's parameters.</param>
    public static string Of(
        DbConnection connection,
        LeaseClaim claim,
        AllowedEmulation? emulation,
        List<(string, object?)> values
    )
    {
        var backends = claim.Types is null ? [] : Backends(connection, claim.Types);
        values.AddRange(backends.Select(b => (b.Parameter, (object?)b.Text)));
        var waits = emulation is null ? null : Waits(emulation, values);
        var one = claim
            .Machines()
            .Select((type, i) => $"({OfType(type, waits, claim.Types is null ? null : backends, Name(i), values)})");
        return $"({string.Join(" OR ", one)})";
    }

    // The names of parameters; the values themselves are bound.
    private static string List(string name, IReadOnlyList<string>? items, List<(string, object?)> values)
    {
        var names = new List<string>();
        foreach (var item in items ?? [])
        {
            var parameter = name + Name(names.Count);
            values.Add((parameter, item));
            names.Add("@" + parameter);
        }

        return names.Count == 0 ? "NULL" : string.Join(", ", names);
    }

    private static string OfType(
        OfferedType type,
        string? waits,
        List<Words>? backends,
        string number,
        List<(string, object?)> values
    )
    {
        string In(string column, IReadOnlyList<string>? items, string? name = null) =>
            $"e.{column} IN ({List($"{name ?? column}{number}_", items, values)})";

        var emulated = waits is null ? "" : $" OR ({In("platform", type.EmulatedPlatforms, "emulated")} AND {waits})";
        // What is made of a finished image runs nothing of it: any machine may.
        var fits = $"""
            {In("recipe_type", type.Recipes)} AND {In("format", type.Outputs)}
                AND (e.microarchitecture = '' OR {In("microarchitecture", type.Microarchitectures)})
                AND (e.recipe_type = '{RecipeTypes.Image}' OR {In("platform", type.Platforms)}{emulated})
            """;
        foreach (var (had, column) in (type.Resources ?? new BuildResources()).List().Zip(ResourceColumns))
        {
            fits += $" AND e.{column} <= @had{number}_{column}";
            values.Add(($"had{number}_{column}", had.Value ?? 0));
        }

        if (type.Networks is { } networks)
        {
            fits += $" AND (e.network = '' OR {In("network", networks)})";
        }

        if (backends is null)
        {
            return fits;
        }

        var heard = backends.FindAll(b => type.Unheard(b.Backend) is null).ConvertAll(b => "@" + b.Parameter);
        return $"{fits} AND e.backend IN ({string.Join(", ", ["''", .. heard])})";
    }

    // What may be emulated at all, and has waited for nodes that build it natively where there are any.
    private static string Waits(AllowedEmulation emulation, List<(string, object?)> values)
    {
        values.Add(("patience", emulation.Before));
        return $"""
            e.emulation = 1
                AND (e.queued <= @patience OR e.platform NOT IN ({List("native", [.. emulation.Native, ""], values)}))
            """;
    }

    // What is asked for of back ends, those first that were first. Anybody may ask for words that nobody hears: they are left
    // out before they are counted, so that they keep nobody else's out.
    private static List<Words> Backends(DbConnection connection, IReadOnlyList<OfferedType> types)
    {
        var values = new List<(string, object?)>();
        var heard = types
            .SelectMany(type => type.Backend ?? new Dictionary<string, IReadOnlyList<string>>())
            .GroupBy(word => word.Key, word => word.Value, StringComparer.Ordinal)
            .Select(word => (Name: word.Key, Has: word.SelectMany(v => v).Distinct(StringComparer.Ordinal).ToList()))
            .Where(word => word.Has.Count > 0)
            .Select((word, i) => Heard(word.Name, word.Has, Name(i), values))
            .ToList();
        if (heard.Count == 0)
        {
            return [];
        }

        var texts = connection.Query(
            $"""
            SELECT b.backend FROM (
                SELECT backend, MIN(queued) AS first FROM executions
                WHERE state = 'queued' AND finished IS NULL AND backend <> '' GROUP BY backend
            ) b
            WHERE NOT EXISTS (SELECT 1 FROM {connection.JsonMembers("b.backend")} w WHERE NOT ({string.Join(
                " OR ",
                heard
            )}))
            ORDER BY b.first, b.backend LIMIT {MaxBackends}
            """,
            row => row.GetString(0),
            [.. values]
        );
        return [.. texts.Select((text, i) => new Words("backend" + Name(i), text, Read(text)))];
    }

    // One word, with what of its values any of the types has.
    private static string Heard(string word, IReadOnlyList<string> has, string number, List<(string, object?)> values)
    {
        values.Add(("word" + number, word));
        var any = has.Contains(OfferedType.Any, StringComparer.Ordinal);
        return any
            ? $"w.key = @word{number}"
            : $"w.key = @word{number} AND w.value IN ({List($"word{number}_", has, values)})";
    }

    private static Dictionary<string, string> Read(string text) =>
        new(JsonSerializer.Deserialize(text, BuildJson.Default.SortedDictionaryStringString)!, StringComparer.Ordinal);

    /// <param name="Parameter">By which conditions refer to the text.</param>
    /// <param name="Text">As the column has it.</param>
    private sealed record Words(string Parameter, string Text, Dictionary<string, string> Backend);

    private static string Name(int number) => number.ToString(CultureInfo.InvariantCulture);
}
