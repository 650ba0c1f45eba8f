namespace Kiln.BuildSpec.Recipes;

/// <summary>From a request and a recipe to what is to be built, everything that was left open filled in.</summary>
public static class RequestPlan
{
    /// <summary>
    /// What is in force: request, annotations, config, and then the defaults of whoever builds (build-extension, R-9). Hold it
    /// against <see cref="RequestRules"/> before anything is made of it.
    /// </summary>
    /// <exception cref="Oci.OciException">A target cannot be read.</exception>
    public static JobRequest Complete(JobRequest request, RecipeContent recipe, BuildOffer offer)
    {
        var said = RecipeDefaults.Merge(request, recipe.Annotations, recipe.Config);
        return said with
        {
            Tags = said.Tags ?? recipe.ImpliedTags,
            Targets =
            [
                .. (said.Targets ?? [new BuildTarget { Platform = offer.Platforms[0] }])
                    .Select(BuildTargets.Normalize)
                    .DistinctBy(t => (t.Platform, t.Microarchitecture)),
            ],
            Outputs = said.Outputs ?? [new BuildOutput { Format = BuildOutput.Oci }],
            Args = said.Args ?? new Dictionary<string, string>(),
            Labels = said.Labels ?? new Dictionary<string, string>(),
            Secrets = said.Secrets ?? [],
            Network =
                said.Network
                ?? (offer.Networks.Contains(NetworkModes.Isolated) ? NetworkModes.Isolated : NetworkModes.None),
            // Also that nothing is answered by what was emulated while it was allowed.
            Emulation = offer.AllowsEmulation ? said.Emulation : EmulationModes.Denied,
            TimeoutSeconds = said.TimeoutSeconds ?? offer.DefaultTimeoutSeconds,
            QueueSeconds = said.QueueSeconds ?? offer.MaxQueueSeconds,
        };
    }

    /// <summary>What a node is told to build for one target of a complete request.</summary>
    public static LeaseTask TaskOf(JobRequest full, RecipeContent recipe, BuildTarget target) =>
        new()
        {
            Platform = target.Platform,
            Microarchitecture = target.Microarchitecture,
            Format = BuildOutput.Oci,
            // Absent for what it always was.
            Compression = full.Outputs!.FirstOrDefault(o => o.Format == BuildOutput.Oci)?.Compression
                is { } compression
                    and not OutputFormats.Gzip
                ? compression
                : null,
            RecipeType = recipe.Type,
            Recipe = recipe.Blob,
            Contexts = recipe.Contexts,
            Args = full.Args!,
            Target = string.IsNullOrEmpty(full.Target) ? null : full.Target,
            Labels = full.Labels!,
            SecretIds = [.. full.Secrets!.Select(s => s.Id).Order(StringComparer.Ordinal)],
            Network = full.Network!,
            Emulation = full.Emulation == EmulationModes.Denied ? EmulationModes.Denied : null,
            TimeoutSeconds = full.TimeoutSeconds!.Value,
            SourceDateEpoch = full.Reproducible?.SourceDateEpoch,
            PinnedBases = full.Reproducible?.Bases is { Count: > 0 } pinned ? pinned : null,
            UseStepCache = full.Cache?.Policy != CachePolicies.None,
            Resources = full.Resources,
            Backend = full.Backend is { Count: > 0 } backend ? backend : null,
        };
}
