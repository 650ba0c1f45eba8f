using System.Text;
using System.Text.Json.Nodes;
using Kiln.Conformance.Wire;

namespace Kiln.Conformance.Request;

/// <summary>What is refused before there is a job (J-6).</summary>
internal static class RefusalChecks
{
    public static IReadOnlyList<Check> All { get; } =
    [
        new("request.refuse-recipe", "a recipe that cannot be parsed is refused", "J-6", RecipeAsync),
        new("request.refuse-stage", "a stage that is not there is refused", "J-6", StageAsync),
        new(
            "request.refuse-platform",
            "a platform that nobody builds is refused, with those there are",
            "J-6",
            PlatformAsync
        ),
        new("request.refuse-output", "a format that nobody makes is refused, with those there are", "J-6", OutputAsync),
        new("request.refuse-tag", "a tag outside of the grammar is refused", "J-6", TagAsync),
        new("request.refuse-secret", "a secret that is not there is refused", "J-6", SecretAsync),
        new(
            "request.refuse-unknown-recipe",
            "a recipe artifact that is not there is refused",
            "J-6",
            UnknownRecipeAsync
        ),
        new("request.refuse-recipe-type", "a kind of recipe that nobody builds is refused", "J-6", RecipeTypeAsync),
        new("request.refuse-context", "a context that is not there is refused", "J-6", ContextAsync),
        new("request.refused-nothing-left", "a request that is refused leaves nothing", "J-11", NothingLeftAsync),
    ];

    private static async Task RecipeAsync(Session session)
    {
        var request = await Jobs.RequestAsync(session, $"FRM scratch # {Session.Unique()}\n");
        (await Jobs.PostAsync(session, request)).MustFail(422, "BUILD_RECIPE_INVALID");
    }

    private static async Task StageAsync(Session session)
    {
        var request = await Jobs.RequestAsync(session);
        request["target"] = "nowhere";
        (await Jobs.PostAsync(session, request)).MustFail(422, "BUILD_RECIPE_INVALID");
    }

    private static async Task PlatformAsync(Session session)
    {
        var request = await Jobs.RequestAsync(session);
        request["targets"] = Json.ArrayOf(new JsonObject { ["platform"] = "plan9/pdp11" });
        var answer = (await Jobs.PostAsync(session, request)).MustFail(422, "BUILD_PLATFORM_UNSUPPORTED");
        MustHaveDetail(answer);
    }

    private static async Task OutputAsync(Session session)
    {
        var request = await Jobs.RequestAsync(session);
        request["outputs"] = Json.ArrayOf(new JsonObject { ["format"] = "none" });
        var answer = (await Jobs.PostAsync(session, request)).MustFail(422, "BUILD_OUTPUT_UNSUPPORTED");
        MustHaveDetail(answer);
    }

    private static async Task TagAsync(Session session)
    {
        var request = await Jobs.RequestAsync(session);
        request["tags"] = new JsonArray("no tag");
        (await Jobs.PostAsync(session, request)).MustFail(400, "BUILD_REQUEST_INVALID");
    }

    private static async Task SecretAsync(Session session)
    {
        var request = await Jobs.RequestAsync(session);
        request["secrets"] = Json.ArrayOf(new JsonObject { ["id"] = "s", ["ref"] = "none" + Session.Unique() });
        (await Jobs.PostAsync(session, request)).MustFail(404, "BUILD_SECRET_UNKNOWN");
    }

    private static async Task UnknownRecipeAsync(Session session)
    {
        var request = await Jobs.RequestAsync(session);
        request["recipe"] = new JsonObject { ["digest"] = Content.Sha256(Content.Random(8)) };
        (await Jobs.PostAsync(session, request)).MustFail(404, "BUILD_RECIPE_UNKNOWN");
    }

    private static async Task RecipeTypeAsync(Session session)
    {
        var info = await session.InfoAsync();
        if (info.Items("recipes").Any(recipe => recipe.Text("type") == "singularity"))
        {
            throw new SkippedException("Singularity definitions are built here");
        }

        var request = await Jobs.RequestAsync(session);
        request["recipe"]!["mediaType"] = "application/vnd.supercontainers.build.singularity.v1";
        (await Jobs.PostAsync(session, request)).MustFail(422, "BUILD_RECIPE_UNSUPPORTED");
    }

    private static async Task ContextAsync(Session session)
    {
        var request = await Jobs.RequestAsync(session);
        request["contexts"] = Json.ArrayOf(Content.ItemOf(Content.Random(8), Types.Context).Descriptor);
        (await Jobs.PostAsync(session, request)).MustFail(404, "MANIFEST_BLOB_UNKNOWN");
    }

    private static async Task NothingLeftAsync(Session session)
    {
        var recipe = Jobs.Recipe();
        var request = await Jobs.RequestAsync(session, recipe);
        request["target"] = "nowhere";
        var answer = await Jobs.PostAsync(session, request);
        if (answer.IsSuccess)
        {
            throw new SkippedException("a request that is refused is needed first");
        }

        var digest = Content.Sha256(Encoding.UTF8.GetBytes(recipe));
        (await session.HeadAsync(session.At($"blobs/{digest}"))).Must(404);
    }

    private static void MustHaveDetail(Answer answer)
    {
        if ((answer.Json().First("errors") as JsonObject)?["detail"] is null)
        {
            throw answer.Failure("has no detail that lists what there is");
        }
    }
}
