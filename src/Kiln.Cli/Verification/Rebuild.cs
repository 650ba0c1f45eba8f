using System.Globalization;
using Kiln.BuildSpec;
using Kiln.Client;
using Kiln.Client.Builds;
using Kiln.Client.Registry;
using Kiln.Oci;

namespace Kiln.Cli.Verification;

/// <summary>Asks for a build as a statement tells of one, and holds what comes against the image.</summary>
internal sealed class Rebuild(RegistryClient registry, BuildClient builds, RemoteRepository repository, TextWriter told)
{
    private const string About = "rebuild";
    private static readonly TimeSpan Wait = TimeSpan.FromSeconds(30);

    public async Task<IReadOnlyList<Finding>> RunAsync(
        RemoteManifest image,
        ProvenanceStatement statement,
        CancellationToken cancel
    )
    {
        var build = statement.Predicate.BuildDefinition;
        if (build.ExternalParameters.UsesSecrets)
        {
            return
            [
                new Finding(About, false, "it was built with secrets, which nobody keeps: it cannot be built again"),
            ];
        }

        var job = await builds.CreateAsync(repository, Request(build), cancel);
        var address = new JobAddress(repository, job.Id);
        await told.WriteLineAsync($"building again: kiln logs -f {address}");
        while (!job.Done)
        {
            job = await builds.GetAsync(address, Wait, cancel);
        }

        if (job.Result?.Outputs is not [var output])
        {
            return [new Finding(About, false, $"job {job.Id}: {job.State}, {job.Reason}: {job.Message}")];
        }

        if (output.Manifest.Digest == image.Digest)
        {
            return [new Finding(About, true, $"the same digest (job {job.Id})")];
        }

        var other = await registry.GetManifestAsync(
            new Reference(repository.Host, repository.Name, Tag: null, output.Manifest.Digest),
            cancel
        );
        var differences = await DifferencesAsync(image, other, cancel);
        if (build.ExternalParameters.Reproducible?.SourceDateEpoch is null)
        {
            differences.Add(
                "it was built without reproducible.sourceDateEpoch, so that at least the times differ with each build"
            );
        }

        return
        [
            new Finding(About, false, $"{other.Digest} is another image (job {job.Id})"),
            .. differences.Select(d => new Finding("differs", false, d)),
        ];
    }

    /// <summary>The same build, delivered nowhere.</summary>
    internal static JobRequest Request(ProvenanceBuild build)
    {
        var asked = build.ExternalParameters;
        return new JobRequest
        {
            Recipe = new RecipeSource { Digest = asked.Recipe.Digest },
            Targets =
            [
                new BuildTarget
                {
                    Platform = Platform.Parse(asked.Platform),
                    Microarchitecture = asked.Microarchitecture,
                },
            ],
            Args = asked.Args,
            Labels = asked.Labels,
            // What stands in the recipe's annotations has to be overruled by nothing, too.
            Target = asked.Target ?? "",
            Tags = [],
            Network = asked.Network,
            Emulation = asked.Emulation,
            TimeoutSeconds = asked.TimeoutSeconds,
            Cache = new CacheOptions { Policy = CachePolicies.None },
            Reproducible = new ReproducibleOptions
            {
                SourceDateEpoch = asked.Reproducible?.SourceDateEpoch,
                Bases = Pins(build),
            },
            MustUnderstand = ["reproducible", "targets", "network"],
        };
    }

    private static List<ResolvedDependency> Pins(ProvenanceBuild build) =>
        [
            .. build
                .ResolvedDependencies.Where(m => m.Name == ProvenanceNames.Base && m is { Uri: not null })
                .Select(m => (m.Uri, Digest: m.Known()))
                .Where(m => m.Digest is not null)
                .Select(m => new ResolvedDependency { Uri = m.Uri!, Digest = m.Digest! }),
        ];

    private async Task<List<string>> DifferencesAsync(
        RemoteManifest image,
        RemoteManifest other,
        CancellationToken cancel
    )
    {
        var differences = new List<string>();
        var (ours, theirs) = (image.Info.Layers, other.Info.Layers);
        for (var i = 0; i < Math.Max(ours.Count, theirs.Count); i++)
        {
            var (left, right) = (ours.ElementAtOrDefault(i), theirs.ElementAtOrDefault(i));
            if (left?.Digest != right?.Digest)
            {
                var number = (i + 1).ToString(CultureInfo.InvariantCulture);
                differences.Add($"layer {number}: {Name(left)}, now {Name(right)}");
            }
        }

        if (image.Info.Config?.Digest != other.Info.Config?.Digest)
        {
            differences.AddRange(
                ConfigComparison.Differences(
                    await ConfigAsync(image.Info.Config, cancel),
                    await ConfigAsync(other.Info.Config, cancel)
                )
            );
        }

        differences.AddRange(
            ConfigComparison.Differences(image.Info.Annotations, other.Info.Annotations).Select(d => $"annotation {d}")
        );
        if (differences.Count == 0)
        {
            differences.Add("the manifests are written differently; layers and config are the same");
        }

        return differences;
    }

    private async Task<byte[]?> ConfigAsync(Descriptor? config, CancellationToken cancel) =>
        config is { Size: <= 4 << 20 }
            ? await ProvenanceReader.ReadBlobAsync(registry, repository, config, cancel)
            : null;

    private static string Name(Descriptor? layer) =>
        layer is null ? "none" : $"{layer.Digest} ({Sizes.Text(layer.Size)})";
}
