using System.Text;
using System.Text.Json;
using Kiln.Inspect.Rewriting;

namespace Kiln.Node.Deriving;

/// <summary>
/// What Apptainer and Singularity look for in a root file system: the environment, the run script and the labels, made of the
/// image's config as they make them of one that they pull, and the places over which they mount. What the image has itself is
/// kept.
/// </summary>
internal static class SingularityFiles
{
    private const string Home = ".singularity.d";
    private const string Value = "_kiln_value";

    // Where --nv and --rocm put the host's libraries, and what --env says of the path.
    private const string Runtime = """
        #!/bin/sh
        export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}/.singularity.d/libs"
        PATH="${SING_USER_DEFINED_PREPEND_PATH:+$SING_USER_DEFINED_PREPEND_PATH:}${PATH}"
        PATH="${PATH}${SING_USER_DEFINED_APPEND_PATH:+:$SING_USER_DEFINED_APPEND_PATH}"
        export PATH="${SING_USER_DEFINED_PATH:-$PATH}"
        unset SING_USER_DEFINED_PREPEND_PATH SING_USER_DEFINED_APPEND_PATH SING_USER_DEFINED_PATH

        """;

    private const int Folder = 0x1ed;
    private const int Script = 0x1ed;
    private const int Plain = 0x1a4;

    private static readonly (string Path, int Mode)[] Places =
    [
        ("dev", Folder),
        ("etc", Folder),
        ("home", Folder),
        ("proc", Folder),
        ("root", 0x1c0),
        ("sys", Folder),
        ("tmp", 0x3ff),
        ("var/tmp", 0x3ff),
    ];

    public static IReadOnlyList<AddedFile> Of(RunConfig config) =>
        [
            .. Places.Select(p => new AddedFile(p.Path, RawEntry.Directory, p.Mode)),
            new("etc/hosts", RawEntry.File, Plain),
            new("etc/resolv.conf", RawEntry.File, Plain),
            new(Home, RawEntry.Directory, Folder),
            new(Home + "/env", RawEntry.Directory, Folder),
            new(Home + "/libs", RawEntry.Directory, Folder),
            new(Home + "/env/10-docker2singularity.sh", RawEntry.File, Script, Environment(config)),
            new(Home + "/env/99-base.sh", RawEntry.File, Script, Runtime),
            new(Home + "/runscript", RawEntry.File, Script, RunScript(config)),
            new(Home + "/startscript", RawEntry.File, Script, RunScript(config)),
            new(Home + "/labels.json", RawEntry.File, Plain, Labels(config)),
            new("singularity", RawEntry.SymbolicLink, 0x1ff, Home + "/runscript"),
        ];

    // What is set from outside, by APPTAINERENV_NAME or --env, counts more than what the image says; but not the path to its
    // own programs. Apptainer reads this with a shell of its own, which knows such a
    // variable in the form ${NAME:-…} only, and leaves a backslash where a quote stands between two quoted parts.
    private static string Environment(RunConfig config)
    {
        var script = new StringBuilder("#!/bin/sh\n");
        foreach (var (name, value) in config.Environment)
        {
            script.Append(
                name == "PATH"
                    ? $"export PATH={Double(value)}\n"
                    : $"{Value}={Double(value)}\nexport {name}=\"${{{name}:-${Value}}}\"\n"
            );
        }

        return script.Append("unset ").Append(Value).Append('\n').ToString();
    }

    // "If Cmd is set … default arguments to the entrypoint … any arguments given replace them" (image-spec, config.md).
    private static string RunScript(RunConfig config)
    {
        var script = new StringBuilder("#!/bin/sh\n");
        if (config.Command.Count > 0)
        {
            script.Append("[ $# -gt 0 ] || set -- ").AppendJoin(' ', config.Command.Select(Quote)).Append('\n');
        }
        else if (config.Entrypoint.Count == 0)
        {
            script.Append("[ $# -gt 0 ] || set -- /bin/sh\n");
        }

        return script
            .Append("exec ")
            .AppendJoin(' ', config.Entrypoint.Select(Quote).Append("\"$@\""))
            .Append('\n')
            .ToString();
    }

    private static string Labels(RunConfig config)
    {
        var labels = new SortedDictionary<string, string>(
            new Dictionary<string, string>(config.Labels),
            StringComparer.Ordinal
        );
        labels.TryAdd("org.label-schema.build-arch", config.Architecture);
        return JsonSerializer.Serialize(labels, NodeJson.Default.SortedDictionaryStringString) + "\n";
    }

    // POSIX.1-2024, 2.2.3: within double quotes these alone mean something.
    private static string Double(string text)
    {
        var quoted = new StringBuilder("\"");
        foreach (var c in text)
        {
            quoted.Append(c is '\\' or '"' or '$' or '`' ? "\\" : "").Append(c);
        }

        return quoted.Append('"').ToString();
    }

    private static string Quote(string text) => "'" + text.Replace("'", "'\\''", StringComparison.Ordinal) + "'";
}
