using System.Data.Common;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Recipes;
using Kiln.Oci;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Metadata;

namespace Kiln.Server.Builds.Intake;

/// <summary>
/// From a request to a job: the recipe is read, options are resolved once (request, annotations, config, defaults),
/// everything that can be refused is refused, and each target gets its key.
/// </summary>
internal sealed class JobIntake(
    RecipeReader recipes,
    InlineRecipes inline,
    ContextTrees trees,
    BuildOffers offers,
    BaseRights bases,
    Enlistment enlistment,
    JobKeys keys,
    Database database,
    BuildOptions options,
    IRecipesBehind? behind = null
)
{
    /// <summary>Makes a request a job; durable when this returns.</summary>
    /// <returns>The job's id.</returns>
    /// <exception cref="OciException">It is refused.</exception>
    public async Task<string> SubmitAsync(
        RepositoryName repository,
        JobRequest request,
        string principal,
        CancellationToken cancel,
        RepeatableRequest? repeatable = null
    ) =>
        await keys.OnceAsync(
            repository,
            principal,
            repeatable,
            async () =>
            {
                await offers.RequireAsync(principal, cancel);
                var recipe = await ResolveAsync(repository, request, cancel);
                var plan = await PlanAsync(repository, request, recipe, JobTriggers.Request, principal, cancel);
                string Accepted(DbTransaction transaction) => Accept(transaction, plan, recipe, repeatable);
                return recipe.Inline is null
                    ? await database.WriteAsync(Accepted, cancel)
                    : await inline.KeepAsync(recipe.Inline, Accepted, cancel);
            }
        );

    /// <summary>
    /// Makes a recipe of the repository a job because somebody pulls a tag that it declares (build-extension, W-4).
    /// </summary>
    /// <param name="started">Finds a job for the tag that has been started meanwhile, and is the answer then.</param>
    /// <returns>The job's id; null where the recipe's product would not get the tag.</returns>
    /// <exception cref="OciException">It is refused.</exception>
    public async Task<string?> SubmitPulledAsync(
        RepositoryName repository,
        RecipeSource recipe,
        Tag tag,
        Func<DbConnection, string?> started,
        string principal,
        CancellationToken cancel
    )
    {
        var request = new JobRequest { Recipe = recipe };
        var resolved = await ResolveAsync(repository, request, cancel);
        var plan = await PlanAsync(repository, request, resolved, JobTriggers.Pull, principal, cancel);
        return plan.Tags.Contains(tag)
            ? await database.WriteAsync(
                transaction => started(transaction.Connection!) ?? Accept(transaction, plan, resolved, null),
                cancel
            )
            : null;
    }

    /// <summary>What is to be built because a base has moved (build-extension, section 17); nothing is written.</summary>
    /// <exception cref="OciException">It is refused.</exception>
    public async Task<JobPlan> PlanAgainAsync(
        RepositoryName repository,
        JobRequest request,
        string principal,
        CancellationToken cancel
    ) =>
        await PlanAsync(
            repository,
            request,
            await ResolveAsync(repository, request, cancel),
            JobTriggers.Base,
            principal,
            cancel
        );

    // Refused here, nothing of the request stays: not its recipe, and not the repository that it would have made.
    private string Accept(DbTransaction transaction, JobPlan plan, ResolvedRecipe recipe, RepeatableRequest? repeatable)
    {
        // Another server may have been faster with the same key.
        if (
            repeatable is not null
            && JobKeys.Find(transaction.Connection!, plan.Repository, plan.CreatedBy, repeatable) is { } before
        )
        {
            return before;
        }

        if (recipe.Inline is { } own)
        {
            inline.Put(transaction, plan.Repository, own, plan.CreatedBy);
        }
        else if (recipe.Copy is { } copy)
        {
            inline.PutCopy(transaction, copy);
        }

        var (job, fault) = enlistment.Enlist(transaction, plan);
        if (fault is not null)
        {
            throw new OciException(fault);
        }

        if (repeatable is not null)
        {
            keys.Note(transaction, plan.Repository, plan.CreatedBy, repeatable, job!);
        }

        return job!;
    }

    /// <summary>What is to be built; nothing is written yet but what was learned of contexts.</summary>
    /// <exception cref="OciException">It is refused.</exception>
    public async Task<JobPlan> PlanAsync(
        RepositoryName repository,
        JobRequest request,
        ResolvedRecipe recipe,
        string trigger,
        string principal,
        CancellationToken cancel
    )
    {
        var offer = await offers.RequireAsync(principal, cancel);
        var full = RequestPlan.Complete(request, recipe, offer);
        RequestRules.Check(full, recipe, offer);
        var contexts = await trees.OfAsync(repository, recipe.Contexts, cancel);
        IReadOnlyList<Tag> side = [.. SideTags.All(full).Select(Tag.Parse)];
        var useCache = full.Cache?.Policy != CachePolicies.None;
        IReadOnlyList<Tag> tags = [.. full.Tags!.Distinct().Select(Tag.Parse)];
        if (behind is not null)
        {
            await behind.LearnBasesAsync(principal, bases.Of(recipe, full), cancel);
        }

        var shareable = useCache && full.Secrets!.Count == 0 && bases.MayUseAll(recipe, full, principal);
        return new JobPlan
        {
            Derivations = DerivationPlan.Of(full, offer, shareable),
            SideTags = side,
            Repository = repository,
            CreatedBy = principal,
            Trigger = trigger,
            RecipeDigest = recipe.Artifact,
            RecipeType = recipe.Type,
            Tags = tags,
            Seen = behind is null ? null : await behind.PointingAsync(repository, tags, cancel),
            Tasks =
            [
                .. full.Targets!.Select(target =>
                    Task(RequestPlan.TaskOf(full, recipe, target), contexts, target, offer)
                ),
            ],
            Secrets = full.Secrets!,
            Shareable = shareable,
            TagPolicy = full.TagPolicy,
            Partial = full.Partial is true,
            Refresh = full.Cache?.Policy == CachePolicies.Refresh,
            MaxAgeSeconds = Math.Min(full.Cache?.MaxAgeSeconds ?? options.ReuseSeconds, options.ReuseSeconds),
            QueueSeconds = full.QueueSeconds!.Value,
            MayWaitWithOthers = full.Targets!.All(target => offer.SharedPlatforms.Contains(target.Platform)),
        };
    }

    private async Task<ResolvedRecipe> ResolveAsync(
        RepositoryName repository,
        JobRequest request,
        CancellationToken cancel
    )
    {
        if (request.Recipe is not { } source)
        {
            throw new OciException(
                BuildErrors.RequestInvalid,
                "the request names no recipe; recipe is a digest, a tag, or a mediaType with data"
            );
        }

        if (new object?[] { source.Digest, source.Tag, source.Data }.Count(named => named is not null) > 1)
        {
            throw new OciException(
                BuildErrors.RequestInvalid,
                "the request names its recipe twice; recipe is a digest, or a tag, or a mediaType with data"
            );
        }

        if (source.Data is null)
        {
            return request.Contexts is null
                ? await recipes.ReadAsync(repository, source, cancel)
                : throw new OciException(
                    BuildErrors.RequestInvalid,
                    "contexts stand beside a recipe inside the request only; a recipe artifact has its own"
                );
        }

        if (source.Data.Length > options.MaxRecipeBytes)
        {
            throw new OciException(
                BuildErrors.RequestTooLarge,
                $"the recipe has {source.Data.Length} bytes; {options.MaxRecipeBytes} is the limit"
            );
        }

        var type =
            BuildMediaTypes.RecipeType(source.MediaType ?? "")
            ?? throw new OciException(
                BuildErrors.RecipeUnsupported,
                $"'{source.MediaType}' is not the media type of a recipe; use {BuildMediaTypes.Dockerfile} or {BuildMediaTypes.Singularity}"
            );
        var contexts = request.Contexts ?? [];
        await trees.OfAsync(repository, [.. contexts.Select(c => new LeaseContext { Blob = c })], cancel);
        return InlineRecipes.Read(type, source.Data, contexts);
    }

    private static PlannedTask Task(
        LeaseTask task,
        IReadOnlyList<Digest> contexts,
        BuildTarget target,
        BuildOffer offer
    )
    {
        var key = TaskKey.Of(task, contexts, target.Microarchitecture, offer.Engines);
        return new PlannedTask(target.Microarchitecture, key.Compute(), task);
    }
}
