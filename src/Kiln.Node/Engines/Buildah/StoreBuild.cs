using System.Globalization;
using System.Text;
using Kiln.BuildSpec;
using Kiln.Node.Sandbox;
using Kiln.Oci;

namespace Kiln.Node.Engines.Buildah;

/// <summary>What is to be run over a store, and what is to be made of it.</summary>
internal sealed record StoreRecipe
{
    /// <summary>The engine's name and version, for the job's record.</summary>
    public required string Engine { get; init; }

    /// <summary>Steps of one kind are never used by another.</summary>
    public string Kind { get; init; } = "";

    /// <summary>About how many layers the build adds.</summary>
    public required int Instructions { get; init; }

    /// <summary>Leaves the id of the image in <c>/build/iid</c>.</summary>
    public required IReadOnlyList<string> Command { get; init; }

    /// <summary>What else it sees.</summary>
    public IReadOnlyList<JailBind> Binds { get; init; } = [];

    /// <inheritdoc cref="JailRun.Programs"/>
    public string Programs { get; init; } = "/";

    /// <summary>What the product stands on; null for nothing.</summary>
    public FetchedBase? FinalBase { get; init; }

    /// <summary>Puts the recipe's own names back into a text.</summary>
    public required Func<string, string> Display { get; init; }

    /// <summary>What the command has told of its end, where its exit code says less.</summary>
    public Func<ToldFailure?> Failure { get; init; } = () => null;
}

/// <summary>
/// One build in a <see cref="Jail"/>, in a store of containers/storage of its own, over the repository's step cache and the bases,
/// both read-only; its image is taken out when nothing of the build runs any more.
/// </summary>
internal sealed class StoreBuild(BuildahProbe probe, Jail jail, BaseStores bases, StepCache steps, BuildLimits limits)
{
    // Past about 78 layers storage mounts by the short names l/X relative to its own store, so the names of the read-only
    // stores must exist there too: relative links, straight to ID/diff. They go before the store becomes a generation.
    // Far from that number nobody asks for them, and each link is a program to start.
    private const string BuildScript = """
        set -eu
        instructions=$1; shift
        mkdir -p /build/ctx /build/store/overlay/l
        for t in /build/contexts/*.tar; do
            [ ! -e "$t" ] || { s=${t##*-}; tar -x --no-same-owner --strip-components="${s%.tar}" -C /build/ctx -f "$t"; }
        done
        count() { short=$(($# + instructions)); }
        count /steps/*/overlay/l/* /bases/*/overlay/l/*
        if [ $short -gt 40 ]; then
            for s in /steps/* /bases/*; do
                [ ! -d $s/overlay/l ] || find $s/overlay/l -type l -printf '%f %l\n' | while read -r name to; do
                    ln -sfn "../../../..$s/overlay/${to#../}" /build/store/overlay/l/$name; done
            done
        fi
        rc=0; "$@" 2>&1 || rc=$?
        [ $short -le 40 ] || find /build/store/overlay/l -lname '../../../../*' -delete
        exit $rc
        """;

    public async Task<EngineResult> RunAsync(
        EngineTask task,
        StoreRecipe recipe,
        BuildahOutput output,
        IBuildListener listener,
        CancellationToken cancel
    )
    {
        listener.Phase(BuildPhases.Pulling);
        var stores = new List<string>();
        foreach (var image in task.Bases.Where(b => !b.Reference.IsSif))
        {
            stores.Add(await bases.StoreOfAsync(image, listener.Log, cancel));
        }

        using var cache = await CachedStepsAsync(task, recipe.Kind, cancel);
        var binds = cache
            .Stores.Select((s, i) => new JailBind(s, $"/steps/{i:000}"))
            .Concat(stores.Distinct().Select((s, i) => new JailBind(s, $"/bases/{i:000}")))
            .Concat(recipe.Binds)
            .ToList();
        var known = KnownLayers(task, cache);
        var export = new BuildahExport(task, compress: !jail.Users.SingleId);
        binds.AddRange(export.Prepare(known));
        listener.Phase(BuildPhases.Building);
        var network = Confine(task.Task, recipe.Engine, listener);
        var instructions = recipe.Instructions.ToString(CultureInfo.InvariantCulture);
        var run = new JailRun(
            task.Directory,
            network,
            binds,
            ["sh", "-c", BuildScript, "sh", instructions, .. recipe.Command],
            LimitsOf(task.Task)
        )
        {
            Programs = recipe.Programs,
            Emulators = EmulatorsOf(task.Task),
        };
        var exit = await jail.RunAsync(run, output.Add, cancel);
        output.End(exit.Code == 0 && exit.Exceeded is null);
        if (exit is { Code: BuildahExport.Failed, Exceeded: null })
        {
            throw new EngineException(
                $"the image could not be taken out of buildah's store: {string.Join('\n', output.Tail.TakeLast(3))}"
            );
        }

        if (exit.Exceeded is not null || exit.Code != 0)
        {
            return BuildahFailure.Explain(exit, output, recipe.Failure());
        }

        listener.Phase(BuildPhases.Pushing);
        return export.Read(known, recipe.FinalBase, recipe.Display) with
        {
            Steps = output.Steps,
            SingleId = jail.Users.SingleId,
        };
    }

    /// <summary>Makes what the build left the newest step generation of its repository.</summary>
    public async Task KeepStepsAsync(
        EngineTask task,
        string kind,
        IReadOnlyDictionary<string, PublishedLayer> layers,
        CancellationToken cancel
    )
    {
        if (task.Task.SecretIds.Count > 0)
        {
            // A step that saw a secret must not stand in for one that would see another.
            return;
        }

        var build = new UntrustedTree(Path.Combine(task.Directory, "build"));
        var made = build.Read(64 << 20, "store", "overlay-layers", "layers.json");
        // A build that was all cached leaves no layer of its own.
        if (
            build.Directory("store") is { } store
            && made is not null
            && Encoding.UTF8.GetString(made).Trim() is not ("" or "[]" or "null")
        )
        {
            await steps.AddAsync(Scope(task, kind), store, layers, cancel);
        }
    }

    /// <summary>Removes all that the build left.</summary>
    public Task CleanUpAsync(string directory, CancellationToken cancel)
    {
        jail.Prepare(probe.NetworkFor(NetworkModes.Isolated), limits);
        return jail.RemoveAsync(directory, cancel);
    }

    // Layers of cached steps are named by the product without being handed over again. Where the registry has lost one
    // (deleted, or never accepted), the cache starts over.
    private async Task<StepCacheUse> CachedStepsAsync(EngineTask task, string kind, CancellationToken cancel)
    {
        var cache = steps.Use(Scope(task, kind), task.Task.UseStepCache);
        foreach (var layer in cache.Layers.Values)
        {
            if (!await task.IsPublished(layer.Blob.Digest, cancel))
            {
                cache.Dispose();
                await steps.DropAsync(Scope(task, kind), cancel);
                return steps.Use(Scope(task, kind), enabled: false);
            }
        }

        return cache;
    }

    // Cached steps stand on the bases they were built from, so they are kept with them: another base, another cache. A step on
    // none says for which family it was made. What was built with one id is no step of what is built with many.
    private string Scope(EngineTask task, string kind)
    {
        var parts = task
            .Bases.Select(b => b.Manifest.ToString())
            .Order(StringComparer.Ordinal)
            .Concat(EmulatorsOf(task.Task).Select(e => e.Platform.ToString()))
            .Prepend(jail.Users.SingleId ? $"{task.CacheScope}{kind}\n{jail.Users.Root}" : task.CacheScope + kind);
        return Digest.Of(Encoding.UTF8.GetBytes(string.Join('\n', parts))).Encoded[..32];
    }

    // What is in force is said before the first step runs.
    private string Confine(LeaseTask task, string engine, IBuildListener listener)
    {
        var network = probe.NetworkFor(task.Network);
        if (network != task.Network)
        {
            var why = jail.Apart
                ? $"This build has no network: {probe.NoNetwork}."
                : "This build is not kept apart (--unsafe-builds).";
            listener.Log(Encoding.UTF8.GetBytes(why + "\n"));
        }

        if (jail.Users.SingleId)
        {
            listener.Log(
                "This build has one user id, its root: changes of owner are pretended, and set-id bits are not published.\n"u8
            );
        }

        listener.Confined(
            new BuildConfinement
            {
                Isolation = jail.Apart ? "namespaces" : "unsafe-none",
                Root = jail.Users.Root,
                Network = network,
                Limits = jail.Limits,
                MemoryBytes = LimitsOf(task).MemoryBytes,
                DiskBytes = LimitsOf(task).DiskBytes,
                Processes = limits.Processes,
                TimeoutSeconds = task.TimeoutSeconds,
                Engine = engine,
                Emulation = probe.EmulatorOf(task.Platform)?.Name,
            }
        );
        return network;
    }

    private IReadOnlyList<Emulator> EmulatorsOf(LeaseTask task) =>
        probe.EmulatorOf(task.Platform) is { } emulator ? [emulator] : [];

    // What a request asks for it gets, and no more; what it does not speak of is the node's own limit.
    private BuildLimits LimitsOf(LeaseTask task) =>
        limits with
        {
            MemoryBytes = Math.Min(limits.MemoryBytes, task.Resources?.MemoryBytes ?? long.MaxValue),
            DiskBytes = Math.Min(limits.DiskBytes, task.Resources?.DiskBytes ?? long.MaxValue),
        };

    private static Dictionary<string, PublishedLayer> KnownLayers(EngineTask task, StepCacheUse cache)
    {
        var known = new Dictionary<string, PublishedLayer>(cache.Layers, StringComparer.Ordinal);
        foreach (var image in task.Bases)
        {
            foreach (var (diffId, layer) in image.DiffIds.Zip(image.Layers))
            {
                known[diffId.ToString()] = new PublishedLayer(layer, diffId);
            }
        }

        return known;
    }
}
