using System.CommandLine;
using Kiln.Cli.Verbs;

namespace Kiln.Cli;

/// <summary>The command line as a whole: every verb, and what a wrong one gets.</summary>
internal static class CommandLine
{
    public static async Task<int> RunAsync(string[] arguments, Shell shell)
    {
        var root = new RootCommand("Kiln: an OCI registry that builds. Push a recipe, pull an image.")
        {
            ServeVerb.Create(shell),
            NodeVerb.Create(shell),
            BuildVerb.Create(shell),
            PushVerb.Create(shell),
            PullVerb.Create(shell),
            MirrorVerb.Create(shell),
            JobsVerb.Create(shell),
            LogsVerb.Create(shell),
            CancelVerb.Create(shell),
            InspectVerb.Create(shell),
            VerifyVerb.Create(shell),
            InfoVerb.Create(shell),
            ImportVerb.Create(shell),
            ExportVerb.Create(shell),
            PolicyVerb.Create(shell),
            FsckVerb.Create(shell),
            TokenVerb.Create(shell),
            GcVerb.Create(shell),
            QuotaVerb.Create(shell),
            ConformanceVerb.Create(shell),
            VersionVerb.Create(shell),
        };

        // A word that begins with '@' is no response file here: it may be part of a digest.
        var parsed = root.Parse(arguments, new ParserConfiguration { ResponseFileTokenReplacer = null });
        if (parsed.Errors.Count > 0)
        {
            foreach (var error in parsed.Errors)
            {
                await shell.Error.WriteLineAsync($"kiln: {TerminalText.Escape(error.Message)}");
            }

            var verb = parsed.CommandResult.Command;
            await shell.Error.WriteLineAsync($"See: kiln {(verb is RootCommand ? "" : verb.Name + " ")}--help");
            return ExitCodes.Usage;
        }

        var configuration = new InvocationConfiguration
        {
            Output = shell.Out,
            Error = shell.Error,
            EnableDefaultExceptionHandler = false,
            // Verbs decide themselves what Ctrl-C means.
            ProcessTerminationTimeout = null,
        };
        return await parsed.InvokeAsync(configuration);
    }
}
