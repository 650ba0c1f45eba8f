using System.Text;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Node;
using Kiln.Oci;
using Kiln.Tests.Inspect;

namespace Kiln.Tests.Builds;

/// <summary>Plays a build node: takes leases, writes logs, pushes tiny images.</summary>
internal sealed class TestNode(Func<IBuildCoordinator> coordinator)
{
    private static readonly LeaseClaim Offer = new()
    {
        Node = "test-node",
        Platforms = ["linux/amd64", "linux/arm64", "linux/amd64/v3"],
        Recipes = [RecipeTypes.Dockerfile],
        Outputs = [BuildOutput.Oci],
    };

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>Takes what is next; null where there is nothing.</summary>
    public Task<Lease?> TryClaimAsync(LeaseClaim? offer = null, TimeSpan wait = default) =>
        coordinator().ClaimAsync(offer ?? Offer, wait, Cancel);

    public async Task<Lease> ClaimAsync()
    {
        var lease = await TryClaimAsync();
        Assert.NotNull(lease);
        return lease;
    }

    public Task LogAsync(Lease lease, string text) =>
        coordinator().AppendLogAsync(lease, Encoding.UTF8.GetBytes(text), Cancel);

    /// <summary>Pushes an image of one layer and reports it.</summary>
    public async Task<LeaseResult> SucceedAsync(Lease lease, string content = "hello", Platform? platform = null)
    {
        var result = new LeaseResult
        {
            State = BuildStates.Succeeded,
            Manifest = await PushImageAsync(lease, content, platform ?? lease.Task.Platform),
            ResolvedDependencies = [],
        };
        await CompleteAsync(lease, result);
        return result;
    }

    public Task FailAsync(Lease lease, string reason = FailureReasons.RecipeError, bool retryable = false) =>
        CompleteAsync(
            lease,
            new LeaseResult
            {
                State = BuildStates.Failed,
                Reason = reason,
                Message = "RUN make exited 2",
                ExitCode = 2,
                Retryable = retryable,
            }
        );

    public Task CompleteAsync(Lease lease, LeaseResult result) => coordinator().CompleteAsync(lease, result, Cancel);

    /// <param name="diffIds">What the config says of the layers; the truth where null.</param>
    public async Task<Descriptor> PushImageAsync(
        Lease lease,
        string content,
        Platform platform,
        IReadOnlyList<Digest>? diffIds = null
    )
    {
        var tar = new Tars().File("hello", content).Bytes();
        var (layer, layerSize) = await PushAsync(lease, Tars.Gzip(tar));
        var names = (diffIds ?? [Digest.Of(tar)]).Select(d => $"\"{d}\"");
        var config = Encoding.UTF8.GetBytes(
            $$"""
            {"architecture":"{{platform.Architecture}}","os":"{{platform.Os}}","author":"{{content}}",
            "rootfs":{"type":"layers","diff_ids":[{{string.Join(',', names)}}] } }
            """
        );
        var (configDigest, configSize) = await PushAsync(lease, config);
        var manifest = new ImageManifest
        {
            Config = new Descriptor
            {
                MediaType = MediaTypes.OciConfig,
                Digest = configDigest,
                Size = configSize,
            },
            Layers =
            [
                new Descriptor
                {
                    MediaType = MediaTypes.OciLayerGzip,
                    Digest = layer,
                    Size = layerSize,
                },
            ],
        };
        return await coordinator()
            .PushManifestAsync(
                lease,
                JsonSerializer.SerializeToUtf8Bytes(manifest, OciJson.Default.ImageManifest),
                MediaTypes.OciManifest,
                Cancel
            );
    }

    private Task<(Digest Digest, long Size)> PushAsync(Lease lease, byte[] bytes) =>
        coordinator().PushBlobAsync(lease, async (stream, cancel) => await stream.WriteAsync(bytes, cancel), Cancel);
}
