using Kiln.BuildSpec;
using Kiln.Client;
using Kiln.Client.Transport;

namespace Kiln.Cli;

/// <summary>Ends a command with a sentence on standard error: what was refused, why, what to do.</summary>
internal sealed class CommandFailure(int exitCode, string message) : Exception(message)
{
    public int ExitCode { get; } = exitCode;

    public static CommandFailure Usage(string message) => new(ExitCodes.Usage, message);

    public static CommandFailure NotPossible(string message) => new(ExitCodes.NotPossible, message);
}

/// <summary>From what went wrong to the exit code and the sentence for it.</summary>
internal static class Failures
{
    /// <summary>Runs a command's body; whatever it throws becomes an exit code and one sentence, never a stack trace.</summary>
    public static async Task<int> GuardAsync(Shell shell, Func<Task<int>> body)
    {
        try
        {
            return await body();
        }
        catch (Exception e)
        {
            var (code, message) = Explain(e);
            await shell.Error.WriteLineAsync($"kiln: {TerminalText.Escape(message)}");
            return code;
        }
    }

    internal static (int Code, string Message) Explain(Exception e) =>
        e switch
        {
            CommandFailure failure => (failure.ExitCode, failure.Message),
            RegistryException registry => (CodeOf(registry), $"{registry.Message}{Advice(registry)}"),
            OperationCanceledException => (ExitCodes.Canceled, "cancelled"),
            InvalidDataException or IOException or UnauthorizedAccessException => (ExitCodes.Usage, e.Message),
            _ => (ExitCodes.NotPossible, $"this is a bug in kiln, please report it ({e.GetType().Name}: {e.Message})"),
        };

    private static int CodeOf(RegistryException e) =>
        e switch
        {
            { Code: "BUILD_RECIPE_INVALID" } => ExitCodes.RecipeFailed,
            { Fault: RegistryFault.NotFound or RegistryFault.Refused } => ExitCodes.Usage,
            _ => ExitCodes.NotPossible,
        };

    private static string Advice(RegistryException e) =>
        e switch
        {
            _ when WantsTls(e) =>
                $". {HostOf(e)} answers, but not without TLS, and loopback is spoken to without; call the registry by the name in its certificate, or let it listen on loopback without TLS too: kiln serve --urls 'https://0.0.0.0:443;http://127.0.0.1:5000'",
            { Fault: RegistryFault.Unreachable } when RegistryAddress.IsLoopback(HostOf(e)) =>
                $". Is 'kiln serve' running there? Start it with: kiln serve --urls http://{HostOf(e)}",
            { Fault: RegistryFault.Unreachable } =>
                ". Check the name and the network; a registry without TLS needs --insecure-registry HOST",
            { Status: 401 } => $". Log in first, for example: podman login {HostOf(e)}",
            { Status: 403, Code: not "BUILD_DISABLED" } => ". Ask whoever runs the registry for the right to do this",
            { Status: 429 } => ". The registry has too much to do; try again later",
            { Code: "BUILD_UNKNOWN" } => ". List the jobs that there are with: kiln jobs HOST/NAME",
            { Fault: RegistryFault.Broken } => ". What answers there may be no OCI registry; check the address",
            _ => "",
        };

    // What speaks TLS only ends a connection that begins in another way; a proxy such as nginx says 400, in no registry's words.
    private static bool WantsTls(RegistryException e) =>
        RegistryAddress.IsLoopback(HostOf(e))
        && (
            e is { Status: 400, Code: null }
            || e.InnerException is HttpRequestException { HttpRequestError: HttpRequestError.ResponseEnded }
        );

    private static string HostOf(RegistryException e) => e.Host ?? "HOST";
}
