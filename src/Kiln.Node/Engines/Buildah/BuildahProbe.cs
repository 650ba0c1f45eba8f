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
        if (emulators.Count == 0 && await TryJailAsync(jail, directory, limits, [], cancel) is { } fault)
        {
            return (null, $"this machine does not let a build be kept apart: {fault}");
        }

        var version = Version.Parse(match.Value);
        var probe = new BuildahProbe($"buildah {version}", version, Slirp.Unavailable(), allowHostNetwork)
        {
            Apart = jail.Apart,
            Emulators = emulators,
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
            if (await TryJailAsync(jail, directory, limits, [emulator], cancel) is null)
            {
                found.Add(emulator);
            }
        }

        return found;
    }

    private static async Task<string?> TryJailAsync(
        Jail jail,
        string directory,
        BuildLimits limits,
        IReadOnlyList<Emulator> emulators,
        CancellationToken cancel
    )
    {
        var trial = Path.Combine(directory, "probe");
        try
        {
            // A node that was killed while it tried has left its trial behind.
            await jail.RemoveAsync(trial, cancel);
            var command = Path.Combine(Directory.CreateDirectory(Path.Combine(trial, "build")).FullName, "trial");
            if (emulators is [var emulator])
            {
                await File.WriteAllBytesAsync(command, emulator.Trial(), cancel);
                File.SetUnixFileMode(command, UnixFileMode.UserRead | UnixFileMode.UserExecute);
            }

            var said = new List<byte>();
            IReadOnlyList<string> words = emulators.Count == 0 ? ["true"] : ["/build/trial"];
            var run = new JailRun(trial, NetworkModes.None, [], words, limits) { Emulators = emulators };
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
