using System.Globalization;
using System.Text;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Dockerfiles;
using Kiln.Node.Sandbox;
using Kiln.Oci;

namespace Kiln.Node.Engines.Buildah;

/// <summary>
/// Builds Dockerfiles with buildah, rootless, in a <see cref="Jail"/>. The build's store is its own, over the repository's
/// step cache and the bases, both read-only.
/// </summary>
internal sealed class BuildahEngine(
    BuildahProbe probe,
    Jail jail,
    BaseStores bases,
    StepCache steps,
    BuildLimits limits
) : IEngine
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

    private static readonly Platform Host = BuildahProbe.HostPlatform;

    public string Name => probe.Name;

    public EngineAbilities Abilities => probe.Abilities;

    public IReadOnlyList<BaseReference> BasesOf(LeaseTask task, string recipe)
    {
        var (file, stage) = Read(task, recipe);
        return new DockerfileBases(file, task.Args, task.Platform, Host, stage).References();
    }

    public async Task<EngineResult> BuildAsync(EngineTask task, IBuildListener listener, CancellationToken cancel)
    {
        var (file, stage) = Read(task.Task, task.Recipe);
        listener.Phase(BuildPhases.Pulling);
        var stores = new List<string>();
        foreach (var image in task.Bases)
        {
            stores.Add(await bases.StoreOfAsync(image, listener.Log, cancel));
        }

        using var cache = await CachedStepsAsync(task, cancel);
        var binds = cache
            .Stores.Select((s, i) => new JailBind(s, $"/steps/{i:000}"))
            .Concat(stores.Distinct().Select((s, i) => new JailBind(s, $"/bases/{i:000}")))
            .ToList();
        var known = KnownLayers(task, cache);
        var export = new BuildahExport(task, compress: !jail.Users.SingleId);
        binds.AddRange(export.Prepare(known));
        var inputs = Prepare(task, file, stage);
        listener.Phase(BuildPhases.Building);
        var output = new BuildahOutput(file, stage, listener, inputs.Display);
        var network = Confine(task.Task, listener);
        var run = new JailRun(
            task.Directory,
            network,
            binds,
            ["sh", "-c", BuildScript, "sh", Instructions(file), .. inputs.Command],
            LimitsOf(task.Task)
        )
        {
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
            return BuildahFailure.Explain(exit, output);
        }

        listener.Phase(BuildPhases.Pushing);
        return export.Read(known, FinalBase(task, file, stage), inputs.Display) with
        {
            Steps = output.Steps,
            SingleId = jail.Users.SingleId,
        };
    }

    public async Task KeepStepsAsync(
        EngineTask task,
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
            await steps.AddAsync(Scope(task), store, layers, cancel);
        }
    }

    public Task CleanUpAsync(string directory, CancellationToken cancel)
    {
        jail.Prepare(probe.NetworkFor(NetworkModes.Isolated), limits);
        return jail.RemoveAsync(directory, cancel);
    }

    // Layers of cached steps are named by the product without being handed over again. Where the registry has lost one
    // (deleted, or never accepted), the cache starts over.
    private async Task<StepCacheUse> CachedStepsAsync(EngineTask task, CancellationToken cancel)
    {
        var cache = steps.Use(Scope(task), task.Task.UseStepCache);
        foreach (var layer in cache.Layers.Values)
        {
            if (!await task.IsPublished(layer.Blob.Digest, cancel))
            {
                cache.Dispose();
                await steps.DropAsync(Scope(task), cancel);
                return steps.Use(Scope(task), enabled: false);
            }
        }

        return cache;
    }

    private static string Instructions(Dockerfile file) =>
        file.Stages.Sum(s => s.Instructions.Count + 1).ToString(CultureInfo.InvariantCulture);

    // Cached steps stand on the bases they were built from, so they are kept with them: another base, another cache. A step on
    // none says for which family it was made. What was built
    // with one id is no step of what is built with many.
    private string Scope(EngineTask task)
    {
        var parts = task
            .Bases.Select(b => b.Manifest.ToString())
            .Order(StringComparer.Ordinal)
            .Concat(EmulatorsOf(task.Task).Select(e => e.Platform.ToString()))
            .Prepend(jail.Users.SingleId ? $"{task.CacheScope}\n{jail.Users.Root}" : task.CacheScope);
        return Digest.Of(Encoding.UTF8.GetBytes(string.Join('\n', parts))).Encoded[..32];
    }

    private static (Dockerfile File, int Stage) Read(LeaseTask task, string recipe)
    {
        if (!Dockerfile.TryParse(recipe, out var file, out var fault))
        {
            throw new FormatException(fault);
        }

        var stage = file.StageIndex(task.Target);
        return stage >= 0
            ? (file, stage)
            : throw new FormatException($"there is no stage '{task.Target}' in the recipe");
    }

    // What is in force is said before the first step runs.
    private string Confine(LeaseTask task, IBuildListener listener)
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
                Engine = Name,
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

    private sealed record Inputs(List<string> Command, Func<string, string> Display);

    private Inputs Prepare(EngineTask task, Dockerfile file, int stage)
    {
        var build = Path.Combine(task.Directory, "build");
        var byReference = task.Bases.ToDictionary(b => b.Reference);
        var recipe = new DockerfileBases(file, task.Task.Args, task.Task.Platform, Host, stage).Rewrite(
            reference => BaseStores.ImageName(byReference[reference].Manifest),
            lowerHeredocs: !probe.KnowsHeredocs
        );
        Directory.CreateDirectory(build);
        File.WriteAllText(Path.Combine(build, "Containerfile"), recipe);
        var secrets = Directory.CreateDirectory(
            NodeDirectory.SecretsOf(task.Directory),
            UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute
        );
        foreach (var secret in task.Task.Secrets ?? [])
        {
            File.WriteAllBytes(Path.Combine(secrets.FullName, secret.Id), secret.Value);
        }

        var names = task.Bases.Select(b => (Internal: BaseStores.ImageName(b.Manifest), b.Reference.Written)).ToList();
        string Display(string line) =>
            names.Aggregate(line, (text, name) => text.Replace(name.Internal, name.Written, StringComparison.Ordinal));
        return new Inputs(Command(task.Task), Display);
    }

    private static List<string> Command(LeaseTask task)
    {
        List<string> command =
        [
            "buildah",
            "bud",
            "--layers",
            "--pull-never",
            "--isolation",
            "chroot",
            // The jail's own network namespace decides; buildah's chroot isolation knows no other word.
            "--network",
            "host",
            // Docker's format keeps HEALTHCHECK, SHELL and ONBUILD; the product is OCI all the same.
            "--format",
            "docker",
            "--identity-label=false",
            "--iidfile",
            "/build/iid",
            "-f",
            "/build/Containerfile",
        ];
        if (task.SourceDateEpoch is { } epoch)
        {
            command.AddRange(["--timestamp", epoch.ToString(CultureInfo.InvariantCulture)]);
        }

        if (!task.UseStepCache)
        {
            command.Add("--no-cache");
        }

        command.AddRange(task.Args.SelectMany(a => new[] { "--build-arg", $"{a.Key}={a.Value}" }));
        command.AddRange(task.Labels.SelectMany(l => new[] { "--label", $"{l.Key}={l.Value}" }));
        command.AddRange(
            (task.Secrets ?? []).SelectMany(s => new[] { "--secret", $"id={s.Id},src=/build/secrets/{s.Id}" })
        );
        command.Add("/build/ctx");
        return command;
    }

    private static FetchedBase? FinalBase(EngineTask task, Dockerfile file, int stage)
    {
        var references = new DockerfileBases(file, task.Task.Args, task.Task.Platform, Host, stage);
        return references.BaseOf(stage) is { } reference ? task.Bases.First(b => b.Reference == reference) : null;
    }

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
