using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Kiln.Node.Sandbox;

namespace Kiln.Node.Engines.Apptainer;

/// <summary>
/// What a definition says of how its image is run, in the config, where programs look that know nothing of <c>/.singularity.d</c>.
/// </summary>
internal static class ProductConfig
{
    private const int MaxBytes = 1 << 20;
    private const string EntryPoint = "/.singularity.d/oci/run";

    // A shell's own, and what stands for whoever ran it.
    private static readonly string[] NotOurs = ["PWD", "OLDPWD", "SHLVL", "_", "HOME"];

    /// <param name="config">The image's config.</param>
    /// <param name="build">The build's directory, with what engine.sh has left in <c>meta</c>; hostile.</param>
    /// <param name="labels">The request's, which count more than the definition's.</param>
    public static byte[] Complete(byte[] config, UntrustedTree build, IReadOnlyDictionary<string, string> labels)
    {
        var root = JsonNode.Parse(config)!.AsObject();
        var runtime = root["config"] as JsonObject ?? [];
        root["config"] = runtime;
        if (build.Read(MaxBytes, "meta", "run") is not null)
        {
            runtime["Entrypoint"] = new JsonArray(EntryPoint);
            runtime.Remove("Cmd");
        }

        SetEnvironment(runtime, build.Read(MaxBytes, "meta", "env") ?? [], build.Read(MaxBytes, "meta", "unset") ?? []);
        SetLabels(runtime, build.Read(MaxBytes, "meta", "labels.json"), labels);
        return Encoding.UTF8.GetBytes(root.ToJsonString());
    }

    // What the definition changes; the rest is, and stays written, as the base's config has it.
    private static void SetEnvironment(JsonObject runtime, byte[] changed, byte[] unset)
    {
        var said = new SortedDictionary<string, string>(StringComparer.Ordinal);
        foreach (var variable in Entries(changed).Select(v => v.Split('=', 2)))
        {
            if (variable is [{ Length: > 0 } name, var value] && !NotOurs.Contains(name, StringComparer.Ordinal))
            {
                // What is there twice was not written by engine.sh; a build may write what it likes.
                said[name] = value;
            }
        }

        var gone = Entries(unset).Except(NotOurs).ToHashSet(StringComparer.Ordinal);
        if (said.Count == 0 && gone.Count == 0)
        {
            return;
        }

        var all = new List<string>();
        foreach (var variable in (runtime["Env"] as JsonArray ?? []).Select(v => v?.ToString() ?? ""))
        {
            var name = variable.Split('=', 2)[0];
            if (said.Remove(name, out var value))
            {
                all.Add($"{name}={value}");
                gone.Add(name);
            }
            else if (!gone.Contains(name))
            {
                all.Add(variable);
            }
        }

        all.AddRange(said.Select(v => $"{v.Key}={v.Value}"));
        runtime["Env"] = new JsonArray([.. all.Select(v => (JsonNode)v)]);
    }

    private static string[] Entries(byte[] list) =>
        Encoding.UTF8.GetString(list).Split('\0', StringSplitOptions.RemoveEmptyEntries);

    private static void SetLabels(JsonObject runtime, byte[]? definition, IReadOnlyDictionary<string, string> request)
    {
        var all = runtime["Labels"] as JsonObject ?? [];
        runtime["Labels"] = all;
        foreach (var (name, value) in Parse(definition))
        {
            all[name] = value;
        }

        foreach (var (name, value) in request)
        {
            all[name] = value;
        }

        if (all.Count == 0)
        {
            runtime.Remove("Labels");
        }
    }

    private static IEnumerable<KeyValuePair<string, string>> Parse(byte[]? json)
    {
        try
        {
            return json is not null && JsonNode.Parse(json) is JsonObject labels
                ? labels
                    .Where(l => l.Value is JsonValue value && value.GetValueKind() == JsonValueKind.String)
                    .Select(l => KeyValuePair.Create(l.Key, l.Value!.GetValue<string>()))
                    .ToList()
                : [];
        }
        catch (Exception e) when (e is JsonException or ArgumentException or InvalidOperationException)
        {
            // A build may write what it likes there: no JSON, a name twice, half of a surrogate pair.
            return [];
        }
    }
}
