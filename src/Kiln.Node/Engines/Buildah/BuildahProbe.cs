using System.Runtime.InteropServices;
using System.Text.RegularExpressions;
using Kiln.BuildSpec;
using Kiln.Node.Sandbox;
using Kiln.Oci;

namespace Kiln.Node.Engines.Buildah;

/// <summary>What buildah can do on this machine, found out by asking it and by trying the jail.</summary>
internal sealed partial record BuildahProbe(string Name, Version Version, string? NoNetwork, bool HostNetwork)
{
    /// <summary>False for <c>--unsafe-builds</c> on a machine that allows no isolation.</summary>
    public bool Apart { get; init; } = true;

    /// <summary>What runs programs of other families here, tried out.</summary>
    public IReadOnlyList<Emulator> Emulators { get; init; } = [];

    /// <summary>Why images cannot be stacked in the node's directory; null where they can.</summary>
    public string? NoStorage { get; init; }

    /// <summary>Here-documents came with buildah 1.33.</summary>
    public bool KnowsHeredocs => Version >= new Version(1, 33);

    public static Platform HostPlatform { get; } =
        new("linux", RuntimeInformation.OSArchitecture == Architecture.Arm64 ? "arm64" : "amd64");

    public EngineAbilities Abilities =>
        new()
        {
            RecipeTypes = [RecipeTypes.Dockerfile],
            Platforms = [HostPlatform],
            EmulatedPlatforms = [.. Emulators.Select(e => e.Platform)],
            Networks = [NetworkModes.Isolated, NetworkModes.None, .. HostNetwork ? new[] { NetworkModes.Host } : []],
            StepCache = true,
        };

    /// <summary>What runs the programs of a platform; null where they need no emulation.</summary>
    public Emulator? EmulatorOf(Platform platform) =>
        Emulators.FirstOrDefault(e => e.Platform.Os == platform.Os && e.Platform.Architecture == platform.Architecture);

    /// <summary>What is in force where <paramref name="wanted"/> was asked for.</summary>
    public string NetworkFor(string wanted) =>
        !Apart ? NetworkModes.Host
        : wanted == NetworkModes.Isolated && NoNetwork is not null ? NetworkModes.None
        : wanted;

    /// <summary>The probe, or in <c>Unavailable</c> why nothing can be built here and what to do about it.</summary>
    public static async Task<(BuildahProbe? Probe, string? Unavailable)> RunAsync(
        Jail jail,
        string directory,
        BuildLimits limits,
        bool allowHostNetwork,
        bool allowEmulation,
        CancellationToken cancel
    )
    {
        if (Programs.Find("buildah") is null)
        {
            return (
                null,
                "buildah is not installed; install it (apt-get install buildah uidmap slirp4netns) and start kiln again"
            );
        }

        var (code, output) = await Programs.RunAsync("buildah", ["--version"], cancel);
        if (code != 0 || VersionText().Match(output) is not { Success: true } match)
        {
            return (null, $"'buildah --version' did not say a version but: {output.Trim()}");
        }

        var emulators = allowEmulation && jail.Apart ? await EmulatorsAsync(jail, directory, limits, cancel) : [];
        // Where a foreign program runs in a jail, the jail is as it should be: that was the same trial.
        if (emulators.Count == 0 && await TryAsync(jail, directory, limits, ["true"], null, cancel) is { } fault)
        {
            return (null, $"this machine does not let a build be kept apart: {fault}");
        }

        var version = Version.Parse(match.Value);
        var probe = new BuildahProbe($"buildah {version}", version, Slirp.Unavailable(), allowHostNetwork)
        {
            Apart = jail.Apart,
            Emulators = emulators,
            // It makes a store, and mounts an overlay in it: what the kernel and the file system let it do is found out by that alone.
            NoStorage = await TryAsync(jail, directory, limits, ["buildah", "images", "-q"], null, cancel),
        };
        return (probe, null);
    }

    // What is installed may still be refused by the kernel, or by what else guards the machine.
    private static async Task<IReadOnlyList<Emulator>> EmulatorsAsync(
        Jail jail,
        string directory,
        BuildLimits limits,
        CancellationToken cancel
    )
    {
        var found = new List<Emulator>();
        foreach (var emulator in await Emulator.FindAsync(HostPlatform, cancel))
        {
            if (await TryAsync(jail, directory, limits, ["/build/trial"], emulator, cancel) is null)
            {
                found.Add(emulator);
            }
        }

        return found;
    }

    // What the command said where it failed, or why it could not even begin; null where it succeeded.
    private static async Task<string?> TryAsync(
        Jail jail,
        string directory,
        BuildLimits limits,
        IReadOnlyList<string> command,
        Emulator? emulator,
        CancellationToken cancel
    )
    {
        var trial = Path.Combine(directory, "probe");
        try
        {
            // A node that was killed while it tried has left its trial behind.
            await jail.RemoveAsync(trial, cancel);
            var program = Path.Combine(Directory.CreateDirectory(Path.Combine(trial, "build")).FullName, "trial");
            if (emulator is not null)
            {
                await File.WriteAllBytesAsync(program, emulator.Trial(), cancel);
                File.SetUnixFileMode(program, UnixFileMode.UserRead | UnixFileMode.UserExecute);
            }

            var said = new List<byte>();
            var run = new JailRun(trial, NetworkModes.None, [], command, limits)
            {
                Emulators = emulator is null ? [] : [emulator],
            };
            var exit = await jail.RunAsync(run, text => said.AddRange(text), cancel);
            return exit.Code == 0 ? null : System.Text.Encoding.UTF8.GetString([.. said]).Trim();
        }
        catch (SandboxException e)
        {
            return e.Message;
        }
        finally
        {
            await jail.RemoveAsync(trial, CancellationToken.None);
        }
    }

    [GeneratedRegex(@"\d+\.\d+(\.\d+)?", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex VersionText();
}
