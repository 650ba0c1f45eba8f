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

        SetEnvironment(runtime, build.Read(MaxBytes, "meta", "env") ?? []);
        SetLabels(runtime, build.Read(MaxBytes, "meta", "labels.json"), labels);
        return Encoding.UTF8.GetBytes(root.ToJsonString());
    }

    private static void SetEnvironment(JsonObject runtime, byte[] environment)
    {
        var said = Encoding
            .UTF8.GetString(environment)
            .Split('\0', StringSplitOptions.RemoveEmptyEntries)
            .Select(v => v.Split('=', 2))
            .Where(v => v is [{ Length: > 0 }, _] && !NotOurs.Contains(v[0], StringComparer.Ordinal))
            .ToDictionary(v => v[0], v => v[1], StringComparer.Ordinal);
        foreach (var variable in (runtime["Env"] as JsonArray ?? []).Select(v => v?.ToString().Split('=', 2)))
        {
            if (variable is [var name, var value])
            {
                said.TryAdd(name, value);
            }
        }

        if (said.Count > 0)
        {
            runtime["Env"] = new JsonArray([
                .. said.OrderBy(v => v.Key, StringComparer.Ordinal).Select(v => (JsonNode)$"{v.Key}={v.Value}"),
            ]);
        }
    }

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
        catch (JsonException)
        {
            // A build may write what it likes there.
            return [];
        }
    }
}
