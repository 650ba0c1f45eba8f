using System.Globalization;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Recipes;
using Kiln.Oci;
using Kiln.Server.Builds.Intake;
using Microsoft.Extensions.Primitives;

namespace Kiln.Server.Http;

/// <summary>
/// Reads what a client posts to <c>…/jobs</c>: a JSON request, or a recipe itself with its options in the query, so that
/// <c>curl --data-binary @Containerfile -H 'Content-Type: text/x-dockerfile' '…/jobs?tag=1.0'</c> is a whole client
/// (build-extension, "Create a job").
/// <para>
/// The query of a recipe: <c>tag</c>, <c>platform</c>, <c>microarchitecture</c>, <c>output</c> as <c>FORMAT[:COMPRESSION]</c> (each several times, or with commas),
/// <c>arg.NAME</c>, <c>label.NAME</c>, <c>secret.ID</c> (its value is the ref of an uploaded secret), <c>target</c>,
/// <c>network</c>, <c>timeout</c> and <c>queue</c> (seconds), <c>cache</c>, <c>tagpolicy</c>, <c>partial</c>, <c>flatten</c>, <c>maxage</c>
/// (seconds), <c>sourcedate</c> (seconds since 1970).
/// </para>
/// </summary>
internal static class JobRequestBody
{
    private const string ArgPrefix = "arg.";
    private const string LabelPrefix = "label.";
    private const string SecretPrefix = "secret.";

    // What may stand in mustUnderstand, since this version acts on it.
    private static readonly string[] Understood =
    [
        "recipe",
        "contexts",
        "targets",
        "args",
        "secrets",
        "target",
        "tags",
        "labels",
        "outputs",
        "flatten",
        "cache",
        "reproducible",
        "emulation",
        "network",
        "resources",
        "backend",
        "tagPolicy",
        "partial",
        "timeoutSeconds",
        "queueSeconds",
    ];

    /// <exception cref="OciException"><c>BUILD_REQUEST_INVALID</c>, 400 or 413.</exception>
    public static async Task<JobRequest> ReadAsync(V2Context context, BuildOptions options)
    {
        var type = context.BodyType();
        if (type is BuildMediaTypes.Request or MediaTypes.Json)
        {
            // Base64 takes a third more; the rest of a request is small.
            var limit = (options.MaxRecipeBytes / 3 * 4) + (1 << 20);
            return ReadJson(await context.ReadBodyAsync(limit, TooLarge(limit)));
        }

        if (BuildMediaTypes.RecipeType(type) is null)
        {
            throw Invalid(
                $"the body's Content-Type is '{V2Context.Shorten(type)}'; send {BuildMediaTypes.Request}, or a recipe as "
                    + $"{BuildMediaTypes.TextDockerfile}, {BuildMediaTypes.Dockerfile} or {BuildMediaTypes.Singularity}"
            );
        }

        var recipe = await context.ReadBodyAsync(options.MaxRecipeBytes, TooLarge(options.MaxRecipeBytes));
        return ReadQuery(context) with
        {
            Recipe = new RecipeSource { MediaType = type, Data = recipe },
        };
    }

    private static JobRequest ReadJson(byte[] body)
    {
        JobRequest? request;
        try
        {
            request = JsonSerializer.Deserialize(body, BuildJson.Default.JobRequest);
        }
        catch (JsonException e)
        {
            throw Invalid($"the request is not valid: {e.Message}");
        }

        if (request is null)
        {
            throw Invalid("the request is null");
        }

        if (request.MemberWithNull() is { } member)
        {
            throw Invalid($"{member} has an item that is null");
        }

        var unknown = (request.MustUnderstand ?? []).Except(Understood, StringComparer.Ordinal).FirstOrDefault();
        return unknown is null
            ? request
            : throw Invalid($"mustUnderstand names '{V2Context.Shorten(unknown)}', which this registry does not know");
    }

    private static JobRequest ReadQuery(V2Context context)
    {
        var lists = new Dictionary<string, List<string>>(StringComparer.Ordinal)
        {
            ["tag"] = [],
            ["platform"] = [],
            ["microarchitecture"] = [],
            ["output"] = [],
        };
        var named = new Dictionary<string, Dictionary<string, string>>(StringComparer.Ordinal)
        {
            [ArgPrefix] = new(StringComparer.Ordinal),
            [LabelPrefix] = new(StringComparer.Ordinal),
            [SecretPrefix] = new(StringComparer.Ordinal),
        };
        var request = new JobRequest();
        foreach (var (key, values) in context.Request.Query)
        {
            var prefix = named.Keys.FirstOrDefault(p => key.StartsWith(p, StringComparison.Ordinal));
            if (lists.TryGetValue(key, out var list))
            {
                list.AddRange(values.SelectMany(v => (v ?? "").Split(',', StringSplitOptions.TrimEntries)));
            }
            else if (prefix is not null)
            {
                named[prefix][key[prefix.Length..]] = One(key, values);
            }
            else
            {
                request = Apply(request, key, One(key, values));
            }
        }

        return request with
        {
            Tags = lists["tag"].Count == 0 ? null : lists["tag"],
            Targets = RecipeDefaults.Targets(lists["platform"], lists["microarchitecture"]),
            Outputs = lists["output"].Count == 0 ? null : lists["output"].ConvertAll(OutputFormats.Parse),
            Args = named[ArgPrefix].Count == 0 ? null : named[ArgPrefix],
            Labels = named[LabelPrefix].Count == 0 ? null : named[LabelPrefix],
            Secrets = [.. named[SecretPrefix].Select(s => new SecretUse { Id = s.Key, Ref = s.Value })],
        };
    }

    private static JobRequest Apply(JobRequest request, string key, string value) =>
        key switch
        {
            "target" => request with { Target = value },
            "network" => request with { Network = value },
            "timeout" => request with { TimeoutSeconds = Number(key, value) },
            "emulation" => request with { Emulation = value },
            "queue" => request with { QueueSeconds = Number(key, value) },
            "cache" => request with { Cache = (request.Cache ?? new CacheOptions()) with { Policy = value } },
            "tagpolicy" => request with { TagPolicy = value },
            "partial" => request with { Partial = value is "1" or "true" },
            "flatten" => request with { Flatten = value is "1" or "true" },
            "maxage" => request with
            {
                Cache = (request.Cache ?? new CacheOptions()) with { MaxAgeSeconds = Number(key, value) },
            },
            "sourcedate" => request with
            {
                Reproducible = new ReproducibleOptions { SourceDateEpoch = Number(key, value) },
            },
            _ => throw Invalid(
                $"'{V2Context.Shorten(key)}' is not an option; there are tag, platform, microarchitecture, output, arg.NAME, "
                    + "label.NAME, secret.ID, target, network, timeout, queue, cache, maxage, tagpolicy, partial, flatten and sourcedate"
            ),
        };

    private static string One(string key, StringValues values) =>
        values.Count == 1 ? values[0] ?? "" : throw Invalid($"'{V2Context.Shorten(key)}' stands {values.Count} times");

    private static int Number(string key, string value) =>
        int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            ? number
            : throw Invalid($"{key} is '{V2Context.Shorten(value)}'; it must be a whole number");

    private static OciError TooLarge(int limit) =>
        new(BuildErrors.RequestTooLarge, $"the request is larger than {limit} bytes; push the recipe as an artifact");

    private static OciException Invalid(string message) => new(BuildErrors.RequestInvalid, message);
}
