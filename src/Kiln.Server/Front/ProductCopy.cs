using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Client.Copying;
using Kiln.Client.Registry;
using Kiln.Oci;
using Kiln.Server.Builds.Publish;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;

namespace Kiln.Server.Front;

/// <summary>
/// Brings the products of a job to the registry behind, with this server's own login: blobs, manifests, what is attached to
/// them, the index, and only then, in a step of its own, the tags. Done twice it changes nothing.
/// </summary>
internal sealed class ProductCopy(
    RegistryBehind behind,
    ReferrersBehind referrers,
    Manifests manifests,
    Blobs blobs,
    Database database
)
{
    private const int Parallel = 3;

    /// <summary>Copies everything but the tags.</summary>
    /// <returns>The index that the tags are to point at.</returns>
    /// <exception cref="Kiln.Client.RegistryException">The registry behind has no answer, or refuses.</exception>
    public async Task<RemoteManifest> CopyAsync(JobRow job, CancellationToken cancel)
    {
        var made = JobProduct.Of(job, database.Read(c => TaskRow.Of(c, job.Id)).FindAll(t => !t.Left));
        var evidence = Evidence(made.Outputs);
        var source = new ProductSource(job.Repository, manifests, blobs, evidence);
        var there = behind.Named(job.Repository);
        var target = new ProductTarget(new RegistryTarget(behind.Client, there), job.Repository, referrers);
        var copy = new TreeCopy(source, target, new CopyOptions { Referrers = true, Parallel = Parallel });
        if (source.Find(job.RecipeDigest) is { } recipe)
        {
            // One that came inside a request is nowhere else.
            await copy.CopyAsync(recipe, [], cancel);
        }

        var index = Read(made.Index);
        await copy.CopyAsync(index, [], cancel);
        foreach (var (subject, attached) in evidence)
        {
            await ListAsync(there, subject, attached, source, cancel);
        }

        return index;
    }

    /// <summary>Moves the job's tags.</summary>
    /// <returns>Why it may not; null where they point at the index now.</returns>
    /// <exception cref="Kiln.Client.RegistryException">The registry behind has no answer, or refuses.</exception>
    public async Task<string?> TagAsync(JobRow job, RemoteManifest index, CancellationToken cancel)
    {
        var client = behind.Client;
        var tags = JsonSerializer.Deserialize(job.Tags, BuildJson.Default.IReadOnlyListString)!;
        // Null where it was accepted before this was noted.
        var seen = job.TagsSeen is null
            ? null
            : JsonSerializer.Deserialize(job.TagsSeen, OciJson.Default.IReadOnlyDictionaryStringString);
        var open = new List<Reference>();
        foreach (var tag in tags)
        {
            var name = new Reference(behind.Host, job.Repository, Tag.Parse(tag), Digest: null);
            var now = await client.FindManifestAsync(name, cancel);
            if (now == index.Digest)
            {
                // An earlier try may have come so far.
                continue;
            }

            if (now == job.RecipeDigest)
            {
                return $"the tag {tag} is the recipe's own; push the recipe as NAME.recipe, or ask for another tag";
            }

            if (job.TagPolicy is not null && seen?.GetValueOrDefault(tag) != now?.ToString())
            {
                return $"the tag {tag} was moved by somebody else meanwhile, and the request has tagPolicy {job.TagPolicy}";
            }

            if (now is not null && seen?.ContainsKey(tag) is false)
            {
                // Only of a tag that is there can be asked whether somebody may move it.
                return $"the tag {tag} has been made since the build was asked for, and whether you may move it was not asked then; ask for the build again, which is answered from this one";
            }

            open.Add(name);
        }

        foreach (var name in open)
        {
            await client.PushManifestAsync(name, index.Info.MediaType, index.Bytes, cancel);
        }

        return null;
    }

    // A try that ended between a manifest and its entry has left it unlisted.
    private async Task ListAsync(
        RemoteRepository there,
        Digest subject,
        IReadOnlyList<Descriptor> attached,
        ProductSource source,
        CancellationToken cancel
    )
    {
        using var held = await referrers.LockAsync(there.Name, cancel);
        var listed = await behind.Client.ListReferrersAsync(there, subject, artifactType: null, cancel);
        foreach (var missing in attached.Where(a => listed.All(l => l.Digest != a.Digest)))
        {
            var manifest = await source.GetManifestAsync(missing.Digest, cancel);
            await behind.Client.AddReferrerAsync(there, subject, manifest, cancel);
        }
    }

    private static Dictionary<Digest, IReadOnlyList<Descriptor>> Evidence(IReadOnlyList<JobResultOutput> outputs) =>
        outputs
            .DistinctBy(o => o.Manifest.Digest)
            .ToDictionary(
                o => o.Manifest.Digest,
                o => (IReadOnlyList<Descriptor>)[.. o.Provenance ?? [], .. o.Log is null ? [] : new[] { o.Log }]
            );

    private static RemoteManifest Read(byte[] content) =>
        new(
            Digest.Of(content),
            content,
            ManifestReader.Read(content, MediaTypes.OciIndex, out var fault)
                ?? throw new InvalidOperationException($"an index of its own cannot be read: {fault}")
        );
}
