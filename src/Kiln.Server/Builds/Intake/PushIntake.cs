using Kiln.BuildSpec;
using Kiln.BuildSpec.Recipes;
using Kiln.Oci;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Registry;

namespace Kiln.Server.Builds.Intake;

/// <summary>Whether a recipe that is pushed to the repository of a name is built.</summary>
internal delegate PushTriggers TriggerPolicy(string repository);

/// <summary>
/// Starts a build when a recipe is pushed (build-extension, "Trigger on push"). Where it cannot, the push is accepted all
/// the same, and its answer says why nothing is built.
/// </summary>
internal sealed class PushIntake(RecipeReader recipes, JobIntake intake, Enlistment enlistment, TriggerPolicy policy)
    : IPushTrigger
{
    public async Task<PushReaction?> PrepareAsync(
        ManifestPush push,
        Digest digest,
        ManifestInfo manifest,
        CancellationToken cancel
    )
    {
        var asked = manifest.Annotations?.GetValueOrDefault(RecipeAnnotations.Trigger);
        if (!RecipeArtifact.Is(manifest) || asked == RecipeAnnotations.TriggerNone)
        {
            return null;
        }

        switch (policy(push.Repository.Value))
        {
            case PushTriggers.Off:
                return (_, _) => Refused($"a push starts none in repository {push.Repository}; ask for one");
            case PushTriggers.OptIn when asked != RecipeAnnotations.TriggerPush:
                return (_, _) =>
                    Refused(
                        $"a push starts one here only with the annotation {RecipeAnnotations.Trigger}={RecipeAnnotations.TriggerPush}"
                    );
        }

        if (!push.MayBuild)
        {
            return (_, _) => Refused($"{push.Principal} may not build in repository {push.Repository}");
        }

        try
        {
            var tags = push.Tags.Select(t => t.Value).ToList();
            var recipe = await recipes.ReadAsync(push.Repository, digest, manifest, tags, tags, cancel);
            var plan = await intake.PlanAsync(
                push.Repository,
                new JobRequest(),
                recipe,
                JobTriggers.Push,
                push.Principal,
                cancel
            );
            return (transaction, _) =>
            {
                var (job, fault) = enlistment.Enlist(transaction, plan);
                return fault is not null
                    ? Refused(fault.Message)
                    : Started(push, plan, JobRow.Find(transaction.Connection!, job!)!);
            };
        }
        catch (OciException e)
        {
            return (_, _) => Refused(e.Error.Message);
        }
    }

    private static PushNotice Started(ManifestPush push, JobPlan plan, JobRow job)
    {
        var path = Ids.JobPath(push.Repository, job.Id);
        var news = BuildStates.IsDone(job.State) ? "answered from an earlier result" : "queued";
        var product = plan.Tags.Count == 0 ? "" : $" for {push.Repository}:{string.Join(',', plan.Tags)}";
        return new PushNotice(
            $"<{path}>; rel=\"status\"; type=\"{BuildMediaTypes.Job}\"",
            Warning($"build {job.Id} {news}{product}; follow {push.Origin}{path}/logs?follow=1")
        );
    }

    private static PushNotice Refused(string why) => new(null, Warning($"no build was started: {why}"));

    // warn-code 299, warn-agent "-", and a quoted string of printable ASCII (distribution-spec, "Warnings").
    internal static string Warning(string text)
    {
        var safe = text.Select(c =>
            c is < ' ' or > '~' ? ' '
            : c is '"' or '\\' ? '\''
            : c
        );
        return $"299 - \"{string.Concat(safe)}\"";
    }
}
