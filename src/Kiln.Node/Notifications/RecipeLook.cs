using System.Text;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Recipes;
using Kiln.Client;
using Kiln.Client.Registry;
using Kiln.Oci;

namespace Kiln.Node.Notifications;

/// <summary>What came of looking at a notification's place.</summary>
internal abstract record Finding
{
    /// <summary>Nothing is to be done.</summary>
    /// <param name="Tell">Whether somebody may wonder why.</param>
    public sealed record Nothing(string Why, bool Tell = true) : Finding;

    /// <summary>What was notified is not there yet, or not any more.</summary>
    public sealed record NotYet(string Why) : Finding;

    /// <summary>A recipe that is to be built; where its state is failed, one that cannot.</summary>
    public sealed record Recipe(WatchedBuild Build) : Finding;
}

/// <summary>
/// Looks at what a notification names, in the configured registry and with the node's own credentials: whether it is a
/// recipe, whether it wants to be built, and what is to be built then. The rules are those of a push to Kiln itself.
/// </summary>
internal sealed class RecipeLook(
    WatchedRegistry registry,
    RegistryClient client,
    NotificationOptions options,
    NodeStatus status,
    TimeProvider time
)
{
    /// <exception cref="RegistryException">The registry does not answer, or does not let this node in.</exception>
    public async Task<Finding> LookAsync(Wish wish, CancellationToken cancel)
    {
        var repository = new RemoteRepository(registry.Host, RepositoryName.Parse(wish.Repository));
        var tag = wish.Tag is null ? null : Tag.Parse(wish.Tag);
        var manifest = await FindAsync(repository, tag, wish.Digest, cancel);
        if (manifest is null)
        {
            return new Finding.NotYet("it is not there");
        }

        // distribution tells of a manifest before it moves the tag.
        if (wish.Digest is { } told && told.Algorithm == manifest.Digest.Algorithm && told != manifest.Digest)
        {
            return new Finding.NotYet($"the tag points at {manifest.Digest}");
        }

        if (!RecipeArtifact.Is(manifest.Info))
        {
            return new Finding.Nothing("it is no recipe", Tell: false);
        }

        var asked = manifest.Info.Annotations?.GetValueOrDefault(RecipeAnnotations.Trigger);
        if (asked == RecipeAnnotations.TriggerNone)
        {
            return new Finding.Nothing($"the recipe says {RecipeAnnotations.Trigger}={asked}");
        }

        if (registry.OptIn && asked != RecipeAnnotations.TriggerPush)
        {
            return new Finding.Nothing(
                $"recipes are built only with the annotation {RecipeAnnotations.Trigger}={RecipeAnnotations.TriggerPush}"
            );
        }

        var build = new WatchedBuild
        {
            Id = Ids.New(time),
            Registry = registry.Name,
            Repository = wish.Repository,
            Recipe = manifest.Descriptor,
            Event = wish.Event,
            Created = time.GetUtcNow().ToUnixTimeMilliseconds(),
        };
        try
        {
            return new Finding.Recipe(await PlanAsync(build, repository, manifest, wish.Tag, cancel));
        }
        catch (OciException e)
        {
            return new Finding.Recipe(
                build with
                {
                    State = BuildStates.Failed,
                    Reason = FailureReasons.RecipeError,
                    Message = e.Error.Message,
                }
            );
        }
    }

    /// <summary>Whether the tags of an earlier build still point at what it delivered.</summary>
    public async Task<bool> IsThereAsync(WatchedBuild build, CancellationToken cancel)
    {
        var repository = new RemoteRepository(registry.Host, RepositoryName.Parse(build.Repository));
        foreach (var tag in build.Tags)
        {
            if (await client.FindManifestAsync(Named(repository, Tag.Parse(tag), null), cancel) != build.Result)
            {
                return false;
            }
        }

        return build.Tags.Count > 0 || await FindAsync(repository, null, build.Result, cancel) is not null;
    }

    private async Task<WatchedBuild> PlanAsync(
        WatchedBuild build,
        RemoteRepository repository,
        RemoteManifest manifest,
        string? tag,
        CancellationToken cancel
    )
    {
        var offer = Offer();
        var recipe = await ReadAsync(repository, manifest, tag, cancel);
        var full = RequestPlan.Complete(new JobRequest(), recipe, offer);
        RequestRules.Check(full, recipe, offer);
        var tags = full.Tags!.Distinct(StringComparer.Ordinal).ToList();
        var seen = new Dictionary<string, Digest>(StringComparer.Ordinal);
        foreach (var product in tags)
        {
            if (await client.FindManifestAsync(Named(repository, Tag.Parse(product), null), cancel) is { } digest)
            {
                seen[product] = digest;
            }
        }

        if (seen.FirstOrDefault(s => s.Value == manifest.Digest) is { Key: { } own })
        {
            throw new OciException(
                BuildErrors.RequestInvalid,
                $"the tag '{own}' is the recipe's own; push the recipe as NAME.recipe, or ask for another tag"
            );
        }

        if (full.TagPolicy == TagPolicies.CreateOnly && seen.Count > 0)
        {
            throw new OciException(
                BuildErrors.StateInvalid,
                $"the tag {seen.Keys.First()} is there already, and the recipe asks to create it only"
            );
        }

        return build with
        {
            RecipeType = recipe.Type,
            Tags = tags,
            Seen = seen,
            TagPolicy = full.TagPolicy,
            Partial = full.Partial is true,
            Tasks =
            [
                .. full.Targets!.Select(
                    (target, at) =>
                        new WatchedTask
                        {
                            Id = $"t{at + 1}",
                            Task = RequestPlan.TaskOf(full, recipe, target),
                            Microarchitecture = target.Microarchitecture,
                        }
                ),
            ],
        };
    }

    private BuildOffer Offer()
    {
        var abilities = status.Abilities;
        return new BuildOffer
        {
            Platforms = abilities.Platforms,
            EmulatedPlatforms = abilities.EmulatedPlatforms,
            Microarchitectures = abilities.Microarchitectures,
            RecipeTypes = abilities.RecipeTypes,
            Networks = abilities.Networks,
            Engines = abilities.Engines,
            Resources = abilities.Resources,
            DefaultTimeoutSeconds = options.DefaultTimeoutSeconds,
            MaxTimeoutSeconds = options.MaxTimeoutSeconds,
            MaxQueueSeconds = int.MaxValue,
        };
    }

    private async Task<RecipeContent> ReadAsync(
        RemoteRepository repository,
        RemoteManifest manifest,
        string? tag,
        CancellationToken cancel
    )
    {
        var artifact = RecipeArtifact.Read(manifest.Info);
        // Packed they are never larger; unpacked they are measured when they are fetched.
        if (artifact.Contexts.Any(c => c.Blob.Size > options.MaxContextBytes))
        {
            throw new OciException(
                BuildErrors.ContextTooLarge,
                $"a build context is larger than {options.MaxContextBytes} bytes; leave out what the build does not need"
            );
        }

        var text = await ReadBlobAsync(repository, artifact.Recipe, options.MaxRecipeBytes, cancel);
        var config = manifest.Info.Config!;
        string[] own = tag is null ? [] : [tag];
        return new RecipeContent
        {
            Artifact = manifest.Digest,
            Type = artifact.RecipeType,
            Blob = artifact.Recipe,
            Text = Encoding.UTF8.GetString(text),
            Contexts = artifact.Contexts,
            Annotations = RecipeDefaults.FromAnnotations(manifest.Info.Annotations),
            Config =
                config.MediaType == BuildMediaTypes.RecipeConfig
                    ? RecipeContent.ReadConfig(
                        await ReadBlobAsync(repository, config, RecipeContent.MaxConfigBytes, cancel)
                    )
                    : new JobRequest(),
            OwnTags = own,
            ImpliedTags = RecipeContent.Implied(own),
        };
    }

    private async Task<byte[]> ReadBlobAsync(
        RemoteRepository repository,
        Descriptor blob,
        int maxBytes,
        CancellationToken cancel
    )
    {
        if (blob.Size > maxBytes)
        {
            throw new OciException(
                BuildErrors.RecipeInvalid,
                $"the blob {blob.Digest} of the recipe has {blob.Size} bytes; {maxBytes} is the limit"
            );
        }

        try
        {
            await using var content = await client.OpenWholeBlobAsync(repository, blob, cancel);
            var bytes = new byte[blob.Size];
            await content.ReadExactlyAsync(bytes, cancel);
            return Digest.Of(bytes, blob.Digest.Algorithm) == blob.Digest
                ? bytes
                : throw new RegistryException(
                    RegistryFault.Broken,
                    $"getting blob {blob.Digest} of {repository}",
                    "what came has another digest"
                );
        }
        catch (RegistryException e) when (e.Fault == RegistryFault.NotFound)
        {
            throw new OciException(
                BuildErrors.RecipeInvalid,
                $"the recipe names the blob {blob.Digest}, which is not in {repository}"
            );
        }
        catch (IOException e)
        {
            throw new RegistryException(
                RegistryFault.Unreachable,
                $"getting blob {blob.Digest} of {repository}",
                e.Message,
                e
            );
        }
    }

    private async Task<RemoteManifest?> FindAsync(
        RemoteRepository repository,
        Tag? tag,
        Digest? digest,
        CancellationToken cancel
    )
    {
        try
        {
            return await client.GetManifestAsync(Named(repository, tag, tag is null ? digest : null), cancel);
        }
        catch (RegistryException e) when (e.Fault == RegistryFault.NotFound)
        {
            return null;
        }
    }

    private static Reference Named(RemoteRepository repository, Tag? tag, Digest? digest) =>
        new(repository.Host, repository.Name, tag, digest);
}
