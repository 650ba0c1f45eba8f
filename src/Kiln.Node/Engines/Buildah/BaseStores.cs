using System.Collections.Concurrent;
using Kiln.Node.Sandbox;
using Kiln.Oci;

namespace Kiln.Node.Engines.Buildah;

/// <summary>
/// Base images unpacked once for each node, and each way to be root: one read-only store for each manifest digest, made from verified blobs by a
/// jail that runs nothing of the image. A build sees only the stores of the bases that its recipe names.
/// </summary>
internal sealed class BaseStores(Jail jail, BuildLimits limits)
{
    // By its id: what name a pulled layout gets, if any, differs between versions.
    private const string Unpack = """
        set -eu
        name=$1; shift
        id=$(buildah pull -q "$@" oci:/in)
        buildah tag "$id" "$name"

        """;

    // apt(8) gives up root for its downloads, and looks whether it is gone. It is told not to where only builds see it: the
    // layers of a base are published as they came, and not read from here.
    private const string Settle = """
        for d in /build/store/overlay/*/diff/etc/apt/apt.conf.d; do
            [ ! -d "$d" ] || echo 'APT::Sandbox::User "root";' >"$d/99kiln-single-id"
        done
        """;

    private readonly ConcurrentDictionary<string, SemaphoreSlim> _locks = new(StringComparer.Ordinal);

    /// <summary>The name under which a base stands in its store.</summary>
    public static string ImageName(Digest manifest) => $"kiln.internal/base:{manifest.Encoded[..40]}";

    /// <summary>The base's store; it is unpacked beside its layout where that has not happened yet.</summary>
    public async Task<string> StoreOfAsync(FetchedBase image, JailOutput log, CancellationToken cancel)
    {
        var home = Path.GetDirectoryName(image.Layout)!;
        // Unpacked with one id it is another image than unpacked with many.
        var store = Path.Combine(home, jail.Users.SingleId ? "store-single-id" : "store");
        var gate = _locks.GetOrAdd(store, _ => new SemaphoreSlim(1, 1));
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
            var family = image.Reference.Platform.Architecture;
            string[] foreign = family == BuildahProbe.HostPlatform.Architecture ? [] : ["--arch", family];
            var script = jail.Users.SingleId ? Unpack + Settle : Unpack;
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
