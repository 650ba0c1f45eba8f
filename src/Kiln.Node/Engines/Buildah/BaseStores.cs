using System.Collections.Concurrent;
using Kiln.Node.Sandbox;
using Kiln.Oci;

namespace Kiln.Node.Engines.Buildah;

/// <summary>
/// Base images unpacked once for each node: one read-only store for each manifest digest, made from verified blobs by a
/// jail that runs nothing of the image. A build sees only the stores of the bases that its recipe names.
/// </summary>
internal sealed class BaseStores(Jail jail, BuildLimits limits)
{
    private readonly ConcurrentDictionary<string, SemaphoreSlim> _locks = new(StringComparer.Ordinal);

    /// <summary>The name under which a base stands in its store.</summary>
    public static string ImageName(Digest manifest) => $"kiln.internal/base:{manifest.Encoded[..40]}";

    /// <summary>The base's store; it is unpacked beside its layout where that has not happened yet.</summary>
    public async Task<string> StoreOfAsync(FetchedBase image, JailOutput log, CancellationToken cancel)
    {
        var home = Path.GetDirectoryName(image.Layout)!;
        var store = Path.Combine(home, "store");
        var gate = _locks.GetOrAdd(home, _ => new SemaphoreSlim(1, 1));
        await gate.WaitAsync(cancel);
        try
        {
            if (!Directory.Exists(store))
            {
                await UnpackAsync(image, home, store, log, cancel);
            }
        }
        finally
        {
            gate.Release();
        }

        return store;
    }

    private async Task UnpackAsync(
        FetchedBase image,
        string home,
        string store,
        JailOutput log,
        CancellationToken cancel
    )
    {
        var staging = Path.Combine(home, "unpack-" + Guid.NewGuid().ToString("n"));
        Directory.CreateDirectory(staging);
        try
        {
            // By its id: what name a pulled layout gets, if any, differs between versions.
            const string script =
                "name=$1; shift; id=$(buildah pull -q \"$@\" oci:/in) && buildah tag \"$id\" \"$name\"";
            var family = image.Reference.Platform.Architecture;
            string[] foreign = family == BuildahProbe.HostPlatform.Architecture ? [] : ["--arch", family];
            var run = new JailRun(
                staging,
                BuildSpec.NetworkModes.None,
                [new JailBind(image.Layout, "/in")],
                ["sh", "-c", script, "sh", ImageName(image.Manifest), .. foreign],
                limits
            );
            var exit = await jail.RunAsync(run, log, cancel);
            if (exit.Code != 0)
            {
                throw new EngineException(
                    $"the base image {image.Reference.Written} could not be unpacked: {exit.Exceeded ?? $"buildah exited with {exit.Code}"}"
                );
            }

            Directory.Move(Path.Combine(staging, "build", "store"), store);
        }
        finally
        {
            await jail.RemoveAsync(staging, CancellationToken.None);
        }
    }
}

/// <summary>An engine could not do its work, for a reason that is not the recipe's.</summary>
internal sealed class EngineException(string message) : Exception(message);
