using System.Text.RegularExpressions;

namespace Kiln.Node.Machine;

/// <summary>The GPUs that a machine's drivers know of.</summary>
internal static partial class Gpus
{
    private const string NvidiaProc = "proc/driver/nvidia";
    private const string Drm = "sys/class/drm";

    public static IReadOnlyList<GpuFacts> Read(MachineRoot root)
    {
        var found = new List<GpuFacts>();
        if (root.Text($"{NvidiaProc}/version") is { } version)
        {
            found.Add(Nvidia(root, version));
        }

        var amd = Cards(root, "0x1002");
        if (amd > 0 && root.Has("dev/kfd"))
        {
            found.Add(new GpuFacts("amd", amd, root.Text("sys/module/amdgpu/version"), []));
        }

        var intel = Cards(root, "0x8086");
        if (intel > 0)
        {
            found.Add(new GpuFacts("intel", intel, null, []));
        }

        return found;
    }

    private static GpuFacts Nvidia(MachineRoot root, string version)
    {
        var models = root.Names($"{NvidiaProc}/gpus")
            .Select(name => root.Lines($"{NvidiaProc}/gpus/{name}/information"))
            .Select(lines => lines.FirstOrDefault(l => l.StartsWith("Model:", StringComparison.Ordinal)))
            .Select(line => line?["Model:".Length..].Trim() ?? "unknown")
            .ToList();
        var driver = DriverVersion().Match(version);
        return new GpuFacts(
            "nvidia",
            models.Count,
            driver.Success ? driver.Groups["version"].Value : null,
            [.. models.Distinct(StringComparer.Ordinal)]
        );
    }

    private static int Cards(MachineRoot root, string vendor) =>
        root.Names(Drm).Count(name => CardName().IsMatch(name) && root.Text($"{Drm}/{name}/device/vendor") == vendor);

    [GeneratedRegex(@"NVRM version:.*?\s(?<version>\d+\.\d+(\.\d+)?)\s", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex DriverVersion();

    [GeneratedRegex(@"^card\d+$", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex CardName();
}
