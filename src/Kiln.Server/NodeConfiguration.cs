using Kiln.Node.Launchers;
using Kiln.Server.Configuration;
using Kiln.Server.Configuration.Sections;

namespace Kiln.Server;

/// <summary>The configuration of a node that starts its builds somewhere else (docs/guide/slurm.md).</summary>
public static class NodeConfiguration
{
    /// <summary>Reads it, and tells all that is wrong with it at once.</summary>
    /// <param name="file">The file; null where there is none.</param>
    /// <param name="launcher">What the command line says of what starts the builds; null where it says nothing.</param>
    public static (LauncherOptions Options, IReadOnlyList<string> Faults) Load(string? file, string? launcher)
    {
        var options = new LauncherOptions();
        var faults = new List<FileFault>();
        LauncherKind? said = launcher switch
        {
            null => null,
            "local" => LauncherKind.Local,
            "slurm" => LauncherKind.Slurm,
            "command" => LauncherKind.Command,
            _ => (LauncherKind)(-1),
        };
        if (said is { } kind && !Enum.IsDefined(kind))
        {
            return (options, [$"--launcher is local, slurm or command, not '{launcher}'"]);
        }

        options = options with { Kind = said ?? options.Kind };
        if (file is not null)
        {
            options = YamlReader.ReadFile(
                file,
                faults,
                options,
                (root, yaml) => NodeSection.File.Read(root, yaml, options)
            );
            if (said is { } wanted && options.Kind != wanted && faults.Count == 0)
            {
                faults.Add(new FileFault(file, 0, $"it says another launcher than --launcher {launcher}"));
            }
        }
        else if (options.Kind != LauncherKind.Local)
        {
            return (
                options,
                ["--config is missing: the file with the kinds of machines that builds may be started on"]
            );
        }

        return (options, [.. faults.Where(f => !f.IsWarning).OrderBy(f => f.Line).Select(f => f.ToString())]);
    }
}
