using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Kiln.Client.Administration;

namespace Kiln.Cli.Verbs;

/// <summary><c>kiln quota</c>: how far the quotas of a running registry are used.</summary>
internal static class QuotaVerb
{
    public static Command Create(Shell shell)
    {
        var (registry, insecure) = (TokenVerb.RegistryOption(shell), Connection.InsecureOption());
        var json = new Option<bool>("--json") { Description = "As JSON." };
        var command = new Command("quota", "Show how far the quotas of a registry are used.")
        {
            registry,
            insecure,
            json,
        };
        command.SetAction(
            (parsed, cancel) =>
                Failures.GuardAsync(
                    shell,
                    async () =>
                    {
                        using var connection = Connection.Open(shell, parsed.GetValue(insecure));
                        var quotas = await new AdminClient(connection.Registry).QuotasAsync(
                            parsed.GetRequiredValue(registry),
                            cancel
                        );
                        if (parsed.GetValue(json))
                        {
                            await shell.Out.WriteLineAsync(
                                JsonSerializer.Serialize(new QuotaList(quotas), AdminJson.Default.QuotaList)
                            );
                        }
                        else
                        {
                            Print(shell, quotas);
                        }

                        return ExitCodes.Ok;
                    }
                )
        );
        return command;
    }

    private static void Print(Shell shell, IReadOnlyList<QuotaView> quotas) =>
        Columns.Write(
            shell.Out,
            [
                ["REPOSITORIES", "SIZE", "TAGS", "REPOSITORIES USED"],
                .. quotas.Select(q =>
                    (string[])
                        [
                            string.Join(',', q.Repositories),
                            Of(Sizes.Text(q.Bytes), q.MaxBytes is { } bytes ? Sizes.Text(bytes) : null),
                            Of(Number(q.Tags), q.MaxTags is { } tags ? Number(tags) : null),
                            Of(Number(q.RepositoryCount), q.MaxRepositories is { } most ? Number(most) : null),
                        ]
                ),
            ]
        );

    private static string Of(string used, string? limit) => limit is null ? used : $"{used} of {limit}";

    private static string Number(long number) => number.ToString(CultureInfo.InvariantCulture);
}
