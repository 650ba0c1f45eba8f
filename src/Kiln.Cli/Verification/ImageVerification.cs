using System.Security.Cryptography;
using Kiln.BuildSpec;
using Kiln.Client.Builds;
using Kiln.Client.Registry;
using Kiln.Oci;

namespace Kiln.Cli.Verification;

/// <summary>Follows images to their provenance, and that to the recipe (build-extension, "Provenance and log").</summary>
/// <param name="keys">Only what one of them has signed counts; unsigned statements count where there are none.</param>
/// <param name="builders">Only what one of them has built counts, by <c>builder.id</c>; anybody's where there are none.</param>
/// <param name="rebuilding">Who is told of builds under way; null where nothing is to be built again.</param>
internal sealed class ImageVerification(
    RegistryClient registry,
    BuildClient builds,
    IReadOnlyList<ECDsa> keys,
    IReadOnlyList<string> builders,
    TextWriter? rebuilding
)
{
    private readonly ProvenanceReader _reader = new(registry);

    public async Task<VerificationReport> RunAsync(Reference reference, CancellationToken cancel)
    {
        var top = await registry.GetManifestAsync(reference, cancel);
        var repository = RemoteRepository.Of(reference);
        var images = new List<ImageReport>();
        if (!MediaTypes.IsIndex(top.Info.MediaType))
        {
            images.Add(await OfAsync(repository, top, platform: null, cancel));
        }

        foreach (var child in top.Info.Manifests.Where(m => m.Platform?.ToString() is not "unknown/unknown"))
        {
            var image = await registry.GetManifestAsync(At(repository, child.Digest), cancel);
            images.Add(await OfAsync(repository, image, child.Platform?.ToString(), cancel));
        }

        return new VerificationReport { Image = reference.ToString(), Images = images };
    }

    private static Reference At(RemoteRepository repository, Digest digest) =>
        new(repository.Host, repository.Name, Tag: null, digest);

    private async Task<ImageReport> OfAsync(
        RemoteRepository repository,
        RemoteManifest image,
        string? platform,
        CancellationToken cancel
    )
    {
        var findings = new List<Finding>();
        var attached = await _reader.OfAsync(repository, image.Digest, cancel);
        if (Choose(attached, image, findings) is { } statement)
        {
            Describe(statement, findings);
            await FollowAsync(repository, image, statement, findings, cancel);
            if (rebuilding is not null)
            {
                var rebuild = new Rebuild(registry, builds, repository, rebuilding);
                findings.AddRange(await rebuild.RunAsync(image, statement, cancel));
            }
        }

        return new ImageReport
        {
            Digest = image.Digest.ToString(),
            Platform = platform,
            Findings = findings,
        };
    }

    // Of several the last: the same image may have been built more than once.
    private ProvenanceStatement? Choose(
        IReadOnlyList<AttachedProvenance> attached,
        RemoteManifest image,
        List<Finding> findings
    )
    {
        var signed = attached.Where(a => a.Bundle is { } b && keys.Any(b.IsSignedBy)).ToList();
        var trusted = keys.Count > 0 ? signed : [.. attached];
        var fitting = trusted
            .Where(a => a.Statement?.Subject.Any(s => s.Is(image.Digest)) is true)
            .Where(a => IsOfABuilder(a.Statement!))
            .ToList();
        var chosen = fitting
            // Unsigned it is whatever anybody has pushed; the registry's own is what both forms say.
            .OrderByDescending(a => a.Statement!.Predicate.RunDetails.Metadata.FinishedOn ?? "", StringComparer.Ordinal)
            .FirstOrDefault();
        if (chosen is null)
        {
            findings.Add(new Finding("provenance", false, Missing(attached, signed, trusted)));
            return null;
        }

        findings.Add(new Finding("provenance", true, $"{chosen.Manifest}, of {fitting.Count} for this image"));
        findings.Add(
            new Finding(
                "signature",
                true,
                keys.Count > 0 ? "by a key that was given" : "not looked at: no --key was given"
            )
        );
        return chosen.Statement;
    }

    private string Missing(
        IReadOnlyList<AttachedProvenance> attached,
        List<AttachedProvenance> signed,
        IReadOnlyList<AttachedProvenance> trusted
    ) =>
        attached.Count == 0 ? "nothing attached to the image says how it was made"
        : keys.Count > 0 && signed.Count == 0 ? $"none of {attached.Count} statements is signed by a key that was given"
        : trusted.FirstOrDefault(a => a.Fault is not null) is { } broken ? $"{broken.Manifest}: {broken.Fault}"
        : trusted.FirstOrDefault(a => a.Statement is { } s && !IsOfABuilder(s)) is { Statement: { } other }
            ? $"it was built by {other.Predicate.RunDetails.Builder.Id}, and no --builder names that"
        : "the statement is not about this image: its subject has another digest";

    private bool IsOfABuilder(ProvenanceStatement statement) =>
        builders.Count == 0 || builders.Contains(statement.Predicate.RunDetails.Builder.Id, StringComparer.Ordinal);

    private static void Describe(ProvenanceStatement statement, List<Finding> findings)
    {
        var run = statement.Predicate.RunDetails;
        findings.Add(new Finding("builder", true, run.Builder.Id));
        findings.Add(new Finding("built", true, $"{run.Metadata.StartedOn} to {run.Metadata.FinishedOn}"));
    }

    private async Task FollowAsync(
        RemoteRepository repository,
        RemoteManifest image,
        ProvenanceStatement statement,
        List<Finding> findings,
        CancellationToken cancel
    )
    {
        var build = statement.Predicate.BuildDefinition;
        findings.Add(await RecipeAsync(repository, build, cancel));
        foreach (var material in build.ResolvedDependencies.Where(m => m.Name == ProvenanceNames.Context))
        {
            var digest = material.Known();
            var size = digest is null ? null : await registry.FindBlobAsync(repository, digest, cancel);
            findings.Add(
                new Finding("context", size is not null, size is null ? $"{digest} is not there" : $"{digest}")
            );
        }

        var bases = build.ResolvedDependencies.Where(m => m.Name == ProvenanceNames.Base).ToList();
        findings.AddRange(bases.Select(b => new Finding("base", b.Known() is not null, $"{b.Uri} {b.Known()}")));
        if (
            image.Info.Annotations?.GetValueOrDefault(HintAnnotations.BaseDigest) is { } told
            && (!Digest.TryParse(told, out var pinned) || !bases.Exists(b => b.Is(pinned)))
        )
        {
            findings.Add(
                new Finding("base", false, $"the image says that it stands on {told}, its provenance does not")
            );
        }
    }

    private async Task<Finding> RecipeAsync(
        RemoteRepository repository,
        ProvenanceBuild build,
        CancellationToken cancel
    )
    {
        var digest = build.ExternalParameters.Recipe.Digest;
        if (!build.ResolvedDependencies.Any(m => m.Name == ProvenanceNames.Recipe && m.Is(digest)))
        {
            return new Finding("recipe", false, $"{digest} is not among what went in");
        }

        if (await registry.FindManifestAsync(At(repository, digest), cancel) is null)
        {
            return new Finding("recipe", false, $"{digest} is not there (any more)");
        }

        var artifact = await registry.GetManifestAsync(At(repository, digest), cancel);
        var layer = build.ResolvedDependencies.FirstOrDefault(m => m.Name == ProvenanceNames.RecipeLayer);
        if (artifact.Info.Layers.FirstOrDefault(l => layer?.Is(l.Digest) is true) is not { } recipe)
        {
            return new Finding("recipe", false, $"{digest} has not the recipe that was built");
        }

        return await ProvenanceReader.ReadBlobAsync(registry, repository, recipe, cancel) is null
            ? new Finding("recipe", false, $"the bytes of {recipe.Digest} are others")
            : new Finding("recipe", true, $"{digest}, its text is {recipe.Digest}");
    }
}
