using System.CommandLine;
using Kiln.Server;

namespace Kiln.Cli.Verbs;

/// <summary>The options of <c>kiln serve</c> that say what may be pushed.</summary>
internal sealed class RegistryOptions
{
    private readonly Option<SparseManifests> _sparse = new("--sparse-manifests")
    {
        Description =
            "Which manifests may refer to what the repository lacks: none, indexes (a mirror of some platforms), or all.",
        HelpName = "none|indexes|all",
    };

    /// <summary>Adds the options to a command.</summary>
    public static RegistryOptions On(Command command)
    {
        var options = new RegistryOptions();
        command.Add(options._sparse);
        return options;
    }

    /// <summary>The same options with what the command line says.</summary>
    public ServerOptions Apply(ServerOptions options, ParseResult parsed) =>
        options with
        {
            Sparse = parsed.GetValue(_sparse),
        };
}
