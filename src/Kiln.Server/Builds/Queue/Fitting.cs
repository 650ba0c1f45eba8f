using System.Data.Common;
using System.Globalization;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Recipes;
using Kiln.Server.Metadata;

namespace Kiln.Server.Builds.Queue;

/// <summary>What of the queue a node may build by emulation.</summary>
/// <param name="Platforms">That it emulates.</param>
/// <param name="Native">Platforms that nodes which are there build natively: they get them first.</param>
/// <param name="Before">What was queued before, in milliseconds since 1970, waits for those no longer.</param>
internal sealed record AllowedEmulation(IReadOnlyList<string> Platforms, IReadOnlyList<string> Native, long Before);

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

    /// <summary>The condition; its values are added to <paramref name="values"/>.</summary>
    public static string Of(
        DbConnection connection,
        LeaseClaim claim,
        AllowedEmulation? emulation,
        List<(string, object?)> values
    )
    {
        var backends = claim.Types is null ? [] : Backends(connection);
        var types = claim.Types ?? [new OfferedType()];
        var emulated = emulation is null ? "" : " OR " + Emulated(emulation, values);
        var one = types.Select((type, i) => $"({OfType(claim, type, emulated, backends, Name(i), values)})");
        var micros = List("micro", claim.Microarchitectures ?? [], values);
        return $"""
            e.recipe_type IN ({List("recipe", claim.Recipes, values)})
                AND (e.microarchitecture = '' OR e.microarchitecture IN ({micros}))
                AND e.format IN ({List("format", claim.Outputs, values)}) AND ({string.Join(" OR ", one)})
            """;
    }

    // The names of parameters; the values themselves are bound.
    private static string List(string name, IReadOnlyList<string> items, List<(string, object?)> values)
    {
        var names = new List<string>(items.Count);
        for (var i = 0; i < items.Count; i++)
        {
            var parameter = name + i.ToString(CultureInfo.InvariantCulture);
            values.Add((parameter, items[i]));
            names.Add("@" + parameter);
        }

        return names.Count == 0 ? "NULL" : string.Join(", ", names);
    }

    private static string OfType(
        LeaseClaim claim,
        OfferedType type,
        string emulated,
        List<(string Text, Dictionary<string, string> Backend)> backends,
        string number,
        List<(string, object?)> values
    )
    {
        // What is made of a finished image runs nothing of it: any machine may.
        var fits =
            $"(e.recipe_type = '{RecipeTypes.Image}' OR e.platform IN ({List($"platform{number}_", type.Platforms ?? claim.Platforms, values)}){emulated})";
        foreach (
            var (had, column) in (type.Resources ?? claim.Resources ?? new BuildResources()).List().Zip(ResourceColumns)
        )
        {
            fits += $" AND e.{column} <= @had{number}_{column}";
            values.Add(($"had{number}_{column}", had.Value ?? 0));
        }

        if ((type.Networks ?? claim.Networks) is { } networks)
        {
            fits += $" AND (e.network = '' OR e.network IN ({List($"network{number}_", networks, values)}))";
        }

        if (claim.Types is null)
        {
            return fits;
        }

        var heard = backends.FindAll(b => type.Unheard(b.Backend) is null).ConvertAll(b => b.Text);
        return $"{fits} AND (e.backend = '' OR e.backend IN ({List($"backend{number}_", heard, values)}))";
    }

    private static string Emulated(AllowedEmulation emulation, List<(string, object?)> values)
    {
        values.Add(("patience", emulation.Before));
        return $"""
            (e.emulation = 1 AND e.platform IN ({List("emulated", emulation.Platforms, values)})
                AND (e.queued <= @patience OR e.platform NOT IN ({List("native", [.. emulation.Native, ""], values)})))
            """;
    }

    private static List<(string Text, Dictionary<string, string> Backend)> Backends(DbConnection connection) =>
        connection.Query(
            $"""
            SELECT DISTINCT backend FROM executions
            WHERE state = 'queued' AND finished IS NULL AND backend <> '' LIMIT {MaxBackends}
            """,
            row =>
                (
                    row.GetString(0),
                    new Dictionary<string, string>(
                        JsonSerializer.Deserialize(row.GetString(0), BuildJson.Default.SortedDictionaryStringString)!
                    )
                )
        );

    private static string Name(int number) => number.ToString(CultureInfo.InvariantCulture);
}
