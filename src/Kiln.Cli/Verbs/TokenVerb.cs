using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Kiln.Client.Administration;

namespace Kiln.Cli.Verbs;

/// <summary><c>kiln token</c>: tokens for machines, at a running registry.</summary>
internal static class TokenVerb
{
    private const string DefaultHost = "127.0.0.1:5000";

    public static Command Create(Shell shell) =>
        new("token", "Issue, list and revoke tokens for machines.") { Issue(shell), List(shell), Revoke(shell) };

    private static Command Issue(Shell shell)
    {
        var (registry, insecure) = (RegistryOption(shell), Connection.InsecureOption());
        var name = new Argument<string>("name")
        {
            Description = "What it is called in lists and logs.",
            HelpName = "NAME",
        };
        var repositories = new Option<string[]>("--repository")
        {
            Description = "Where it may be used: a repository, or a pattern such as 'ci/**'.",
            HelpName = "PATTERN",
            Required = true,
        };
        var actions = new Option<string[]>("--action")
        {
            Description = "What it is for: pull, push, delete, build, admin, lease; several with commas.",
            HelpName = "ACTION",
            Required = true,
        };
        var expires = new Option<string>("--expires")
        {
            Description = "How long it counts: 12h, 30d, or never.",
            HelpName = "TIME",
            DefaultValueFactory = _ => "90d",
        };
        var command = new Command("issue", "Make a token. Its secret is shown once, on standard output.")
        {
            name,
            repositories,
            actions,
            expires,
            registry,
            insecure,
        };
        command.SetAction(
            (parsed, cancel) =>
                Failures.GuardAsync(
                    shell,
                    () =>
                        IssueAsync(
                            shell,
                            parsed.GetRequiredValue(registry),
                            parsed.GetValue(insecure),
                            new TokenRequest
                            {
                                Name = parsed.GetRequiredValue(name),
                                Repositories = parsed.GetRequiredValue(repositories),
                                Actions = [.. parsed.GetRequiredValue(actions).SelectMany(a => a.Split(','))],
                                ExpiresInSeconds = Seconds(parsed.GetRequiredValue(expires)),
                            },
                            cancel
                        )
                )
        );
        return command;
    }

    private static async Task<int> IssueAsync(
        Shell shell,
        string registry,
        string[]? insecure,
        TokenRequest request,
        CancellationToken cancel
    )
    {
        using var connection = Connection.Open(shell, insecure);
        var token = await new AdminClient(connection.Registry).IssueAsync(registry, request, cancel);
        await shell.Out.WriteLineAsync(token.Token);
        var end = token.Expires is { } expires ? $"until {Day(expires)}" : "for ever";
        await shell.Error.WriteLineAsync(
            $"Keep it: it cannot be shown again. It counts {end}; end it with: kiln token revoke {token.Name}"
        );
        return ExitCodes.Ok;
    }

    private static Command List(Shell shell)
    {
        var (registry, insecure) = (RegistryOption(shell), Connection.InsecureOption());
        var json = new Option<bool>("--json") { Description = "As JSON." };
        var command = new Command("list", "List the tokens that there are.") { registry, insecure, json };
        command.SetAction(
            (parsed, cancel) =>
                Failures.GuardAsync(
                    shell,
                    async () =>
                    {
                        using var connection = Connection.Open(shell, parsed.GetValue(insecure));
                        var tokens = await new AdminClient(connection.Registry).ListAsync(
                            parsed.GetRequiredValue(registry),
                            cancel
                        );
                        if (parsed.GetValue(json))
                        {
                            await shell.Out.WriteLineAsync(
                                JsonSerializer.Serialize(new TokenList(tokens), AdminJson.Default.TokenList)
                            );
                        }
                        else
                        {
                            Print(shell, tokens);
                        }

                        return ExitCodes.Ok;
                    }
                )
        );
        return command;
    }

    private static Command Revoke(Shell shell)
    {
        var (registry, insecure) = (RegistryOption(shell), Connection.InsecureOption());
        var name = new Argument<string>("name") { Description = "Its name or id.", HelpName = "NAME" };
        var command = new Command("revoke", "End a token, at once.") { name, registry, insecure };
        command.SetAction(
            (parsed, cancel) =>
                Failures.GuardAsync(
                    shell,
                    async () =>
                    {
                        using var connection = Connection.Open(shell, parsed.GetValue(insecure));
                        var which = parsed.GetRequiredValue(name);
                        await new AdminClient(connection.Registry).RevokeAsync(
                            parsed.GetRequiredValue(registry),
                            which,
                            cancel
                        );
                        await shell.Out.WriteLineAsync($"token {which} is revoked");
                        return ExitCodes.Ok;
                    }
                )
        );
        return command;
    }

    private static void Print(Shell shell, IReadOnlyList<TokenView> tokens)
    {
        var now = shell.Time.GetUtcNow();
        var rows = tokens.Select(token =>
            (string[])
                [
                    token.Name,
                    string.Join(',', token.Repositories),
                    string.Join(',', token.Actions),
                    token.Expires is not { } end ? "never"
                    : end <= now ? $"{Day(end)} (expired)"
                    : Day(end),
                    token.LastUsed is { } used ? Day(used) : "never",
                    token.CreatedBy,
                ]
        );
        Columns.Write(
            shell.Out,
            [
                ["NAME", "REPOSITORIES", "ACTIONS", "EXPIRES", "LAST USED", "BY"],
                .. rows,
            ]
        );
    }

    private static string Day(DateTimeOffset time) =>
        time.ToString("yyyy-MM-dd HH:mm'Z'", CultureInfo.InvariantCulture);

    private static long? Seconds(string text)
    {
        if (text == "never")
        {
            return null;
        }

        var unit = text.Length > 1 ? "smhd".IndexOf(text[^1], StringComparison.Ordinal) : -1;
        return unit >= 0 && int.TryParse(text[..^1], NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            ? number * new long[] { 1, 60, 3600, 86_400 }[unit]
            : throw CommandFailure.Usage($"'{text}' is no time; write for example 12h, 30d, or never");
    }

    public static Option<string> RegistryOption(Shell shell) =>
        new("--registry")
        {
            Description = $"The registry; ${References.DefaultRegistry} or {DefaultHost} otherwise.",
            HelpName = "HOST",
            DefaultValueFactory = _ =>
                shell.Variable(References.DefaultRegistry) is { Length: > 0 } named ? named.TrimEnd('/') : DefaultHost,
        };
}
