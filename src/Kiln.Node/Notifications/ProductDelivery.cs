using System.Globalization;
using System.Reflection;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Products;
using Kiln.Client.Copying;
using Kiln.Client.Registry;
using Kiln.Client.Transport;
using Kiln.Oci;

namespace Kiln.Node.Notifications;

/// <summary>
/// Tells a build's end to its registry: the index, provenance and log of each image, and last of all the tags; or, where it
/// failed, its log beside the recipe. It may break off anywhere and be begun anew: the same build gives the same bytes, and
/// what is there is not sent again.
/// </summary>
internal sealed class ProductDelivery(NotificationOptions options, WatchedPlace place, WatchedBuilds builds)
{
    private const int MaxMessage = 500;
    private const string StateAnnotation = RecipeAnnotations.Prefix + "state";
    private const string ReasonAnnotation = RecipeAnnotations.Prefix + "reason";
    private const string MessageAnnotation = RecipeAnnotations.Prefix + "message";

    private static readonly string ProgramVersion =
        typeof(ProductDelivery)
            .Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()
            ?.InformationalVersion
        ?? "unknown";

    private readonly RegistryClient _client = place.Client;

    /// <summary>Publishes what succeeded.</summary>
    /// <returns>The index, or in the second place why the tags are not moved.</returns>
    public async Task<(Digest? Index, string? Refusal)> PublishAsync(WatchedBuild build, CancellationToken cancel)
    {
        var repository = place.Of(build.Repository);
        var held = new HeldContent();
        var products = ProductIndex
            .InOrder(build.Succeeded, t => t.Task.Platform, t => t.Microarchitecture, t => Ordinal(t))
            .ToList();
        foreach (var task in products)
        {
            var manifest = await _client.GetManifestAsync(
                new Reference(repository.Host, repository.Name, Tag: null, task.Manifest!.Digest),
                cancel
            );
            held.AddManifest(manifest.Bytes, manifest.Info.MediaType);
            Attach(held, build, task);
        }

        var content = ProductIndex.Of(
            products.Select(t => new ProductEntry(
                t.Manifest!,
                t.Task.Platform,
                t.Microarchitecture,
                t.Hints,
                t.Confinement?.Emulation is not null
            ))
        );
        var index = Add(held, content, MediaTypes.OciIndex);
        if (await RefusalAsync(build, repository, index.Digest, cancel) is { } refusal)
        {
            return (null, refusal);
        }

        var target = new RegistryTarget(_client, repository);
        await new TreeCopy(held, target, new CopyOptions { Referrers = true }).CopyAsync(index, Tags(build), cancel);
        return (index.Digest, null);
    }

    /// <summary>Attaches what there is to say of a failure to its recipe, for whoever lists that one's referrers.</summary>
    public async Task TellFailureAsync(WatchedBuild build, CancellationToken cancel)
    {
        var repository = place.Of(build.Repository);
        var held = new HeldContent();
        var recipe = await _client.GetManifestAsync(
            new Reference(repository.Host, repository.Name, Tag: null, build.Recipe.Digest),
            cancel
        );
        var root = held.AddManifest(recipe.Bytes, recipe.Info.MediaType);
        var failed = build.Tasks.FirstOrDefault(task => task.State == BuildStates.Failed);
        var log =
            failed is not null && File.Exists(builds.LogOf(build.Id, failed.Id))
                ? AddLog(held, builds.LogOf(build.Id, failed.Id))
                : AddText(held, $"{build.Message}\n");
        var annotations = new SortedDictionary<string, string>(StringComparer.Ordinal)
        {
            [HintAnnotations.Created] = ProvenanceFacts.Time(failed?.Finished ?? build.Created),
            [StateAnnotation] = BuildStates.Failed,
            [ReasonAnnotation] = build.Reason ?? FailureReasons.SystemError,
            [MessageAnnotation] = Short(build.Message ?? ""),
        };
        var attached = EvidenceManifest.Of(BuildMediaTypes.Log, log, build.Recipe, annotations);
        held.AddBlob(EvidenceManifest.Config.Bytes);
        Add(held, attached.Content, MediaTypes.OciManifest);
        var target = new RegistryTarget(_client, repository);
        await new TreeCopy(held, target, new CopyOptions { Referrers = true }).CopyAsync(root, [], cancel);
    }

    // A registry of others has no transactions: what the recipe asks for its tags is looked at as late as can be.
    private async Task<string?> RefusalAsync(
        WatchedBuild build,
        RemoteRepository repository,
        Digest index,
        CancellationToken cancel
    )
    {
        foreach (var tag in Tags(build))
        {
            var now = await _client.FindManifestAsync(
                new Reference(repository.Host, repository.Name, tag, Digest: null),
                cancel
            );
            if (now == index)
            {
                continue;
            }

            if (now == build.Recipe.Digest)
            {
                return $"the tag {tag} is the recipe's own";
            }

            if (build.TagPolicy is not null && now != build.Seen.GetValueOrDefault(tag.Value))
            {
                return $"the tag {tag} was moved by somebody else, and the recipe asks for {build.TagPolicy}";
            }
        }

        return null;
    }

    // A tag is that of the newest recipe, also where an older one took longer.
    private List<Tag> Tags(WatchedBuild build)
    {
        var newer = builds
            .All.Where(other =>
                (other.Registry, other.Repository) == (build.Registry, build.Repository)
                && string.CompareOrdinal(other.Id, build.Id) > 0
                && other.State == BuildStates.Succeeded
            )
            .SelectMany(other => other.Tags)
            .ToHashSet(StringComparer.Ordinal);
        return [.. build.Tags.Where(tag => !newer.Contains(tag)).Select(Tag.Parse)];
    }

    private void Attach(HeldContent held, WatchedBuild build, WatchedTask task)
    {
        var log = AddLog(held, builds.LogOf(build.Id, task.Id));
        var statement = StatementOf(build, task, log);
        var (provenance, text) = EvidenceManifest.Provenance(statement, task.Manifest!);
        held.AddBlob(text);
        held.AddBlob(EvidenceManifest.Config.Bytes);
        Add(held, provenance.Content, MediaTypes.OciManifest);
        var attached = EvidenceManifest.Log(log, task.Manifest!, ProvenanceFacts.Time(task.Finished!.Value));
        Add(held, attached.Content, MediaTypes.OciManifest);
    }

    private ProvenanceStatement StatementOf(WatchedBuild build, WatchedTask task, Descriptor log)
    {
        var repository = place.Of(build.Repository);
        var origin = RegistryAddress.Of(repository.Host, options.InsecureRegistries).ToString().TrimEnd('/');
        return new ProvenanceStatement
        {
            Subject = [ProvenanceFacts.Material(repository.ToString(), task.Manifest!.Digest)],
            Predicate = new ProvenancePredicate
            {
                BuildDefinition = new ProvenanceBuild
                {
                    BuildType = ProvenanceNames.BuildType(task.Task.RecipeType),
                    ExternalParameters = ProvenanceFacts.Parameters(
                        task.Task,
                        new JobRecipe { Digest = build.Recipe.Digest, Type = build.RecipeType },
                        task.Microarchitecture
                    ),
                    InternalParameters = new ProvenanceCircumstances
                    {
                        Key = task.Key!,
                        Attempt = task.Attempt,
                        Engine = task.Confinement?.Engine,
                        Confinement = task.Confinement,
                    },
                    ResolvedDependencies = ProvenanceFacts.Materials(
                        task.Task,
                        build.Recipe.Digest,
                        $"{origin}/v2/{repository.Name}",
                        task.Dependencies
                    ),
                },
                RunDetails = new ProvenanceRun
                {
                    Builder = new ProvenanceBuilder
                    {
                        Id = options.Builder,
                        Version = new Dictionary<string, string> { ["kiln"] = ProgramVersion },
                    },
                    Metadata = new ProvenanceTimes
                    {
                        InvocationId = $"{options.Builder}#{build.Id}-{task.Id}",
                        StartedOn = task.Started is { } started ? ProvenanceFacts.Time(started) : null,
                        FinishedOn = ProvenanceFacts.Time(task.Finished!.Value),
                    },
                    Byproducts = [ProvenanceFacts.Material(ProvenanceNames.Log, log)],
                },
            },
        };
    }

    private RemoteManifest Add(HeldContent held, byte[] content, string type)
    {
        var manifest = held.AddManifest(content, type);
        // Noted before it is there: the notification of it may come first.
        builds.NoteOwn([manifest.Digest]);
        return manifest;
    }

    private static Descriptor AddLog(HeldContent held, string path)
    {
        using var file = File.OpenRead(path);
        var digest = Digest.Parse(
            $"sha256:{Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(file))}"
        );
        held.AddBlob(digest, file.Length, _ => Task.FromResult<Stream>(File.OpenRead(path)));
        return EvidenceManifest.LogLayer(digest, file.Length);
    }

    private static Descriptor AddText(HeldContent held, string text)
    {
        var bytes = System.Text.Encoding.UTF8.GetBytes(text);
        held.AddBlob(bytes);
        return EvidenceManifest.LogLayer(Digest.Of(bytes), bytes.Length);
    }

    private static int Ordinal(WatchedTask task) => int.Parse(task.Id[1..], CultureInfo.InvariantCulture);

    private static string Short(string text)
    {
        var line = string.Concat(text.Select(c => char.IsControl(c) ? ' ' : c));
        return line.Length <= MaxMessage ? line : line[..MaxMessage];
    }
}
