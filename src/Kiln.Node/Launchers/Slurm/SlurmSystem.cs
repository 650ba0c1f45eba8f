using System.Globalization;

namespace Kiln.Node.Launchers.Slurm;

/// <summary>
/// Slurm by its own commands, as whoever this process is. Jobs are accounted to that user, and do with the account, the
/// partition and the limits that Slurm gives them.
/// </summary>
internal sealed class SlurmSystem : IBatchSystem
{
    // Seconds before the end of its time at which a job hears of it. Slurm counts in minutes, so it may be a minute more.
    private const int Warning = 30;

    private static readonly IReadOnlyDictionary<string, string> NoVariables = new Dictionary<string, string>();

    public string Name => "Slurm";

    public async Task<string?> UnavailableAsync(CancellationToken cancel)
    {
        try
        {
            var answer = await SiteProgram.RunAsync(["sbatch", "--version"], null, NoVariables, cancel);
            return answer.Code == 0 ? null : $"sbatch does not work here: {answer.Text}";
        }
        catch (BatchAwayException e)
        {
            return $"Slurm's commands are needed, and are not here: {e.Message}";
        }
    }

    public async Task<Submission> SubmitAsync(BatchOrder order, CancellationToken cancel)
    {
        try
        {
            return SlurmText.Submitted(await SiteProgram.RunAsync(Arguments(order), null, NoVariables, cancel));
        }
        catch (BatchAwayException e)
        {
            return new Submission(SubmissionKind.Unknown, e.Message);
        }
    }

    public async Task<IReadOnlyList<BatchJob>> ListAsync(IReadOnlyList<BatchTicket> wanted, CancellationToken cancel) =>
        SlurmText.Jobs(
            await AskAsync(
                ["squeue", "--local", "-h", "-t", "all", "-u", Environment.UserName, "-o", SlurmText.ListFormat],
                cancel
            )
        );

    public async Task<BatchJob?> LookUpAsync(BatchTicket ticket, CancellationToken cancel)
    {
        var job = ticket.Job!;
        var answer = await SiteProgram.RunAsync(["scontrol", "-o", "show", "job", job], null, NoVariables, cancel);
        if (SlurmText.Shown(answer.Output) is { } shown)
        {
            return shown;
        }

        if (!answer.Errors.Contains("Invalid job id", StringComparison.OrdinalIgnoreCase))
        {
            throw new BatchAwayException(answer.Text);
        }

        // The controller forgets after a while (MinJobAge); accounting, where there is any, does not.
        var accounted = await SiteProgram.RunAsync(
            ["sacct", "-n", "-X", "-P", "-j", job, "-o", SlurmText.AccountFormat],
            null,
            NoVariables,
            cancel
        );
        return accounted.Code == 0 && SlurmText.Accounted(job, accounted.Output) is { IsOver: true } over ? over : null;
    }

    public async Task CancelAsync(IReadOnlyList<string> jobs, CancellationToken cancel)
    {
        var answer = await SiteProgram.RunAsync(["scancel", .. jobs], null, NoVariables, cancel);
        if (answer.Code != 0 && !answer.Errors.Contains("Invalid job id", StringComparison.OrdinalIgnoreCase))
        {
            throw new BatchAwayException(answer.Text);
        }
    }

    // Values come from the operator's file, or were listed there: each is one argument, whatever is in it.
    internal static IReadOnlyList<string> Arguments(BatchOrder order)
    {
        var shape = order.Wanted;
        List<string> arguments =
        [
            "sbatch",
            "--parsable",
            $"--job-name={order.Name}",
            $"--output={order.Output.Replace("%", "%%", StringComparison.Ordinal)}",
            "--open-mode=append",
            "--chdir=/",
            // Nothing of this node's environment, and no login shell to make one.
            "--export=NIL",
            // Whether there is another attempt, the registry decides.
            "--no-requeue",
            "--nodes=1",
            "--ntasks=1",
            Number("--cpus-per-task", shape.Cpus),
            $"--mem={shape.JobMebibytes.ToString(CultureInfo.InvariantCulture)}M",
            Number("--time", shape.JobMinutes),
            $"--signal=B:USR1@{Warning.ToString(CultureInfo.InvariantCulture)}",
        ];
        arguments.AddRange(shape.Place.OrderBy(p => p.Key, StringComparer.Ordinal).Select(p => $"--{p.Key}={p.Value}"));
        if (shape.Gpus > 0)
        {
            var number = shape.Gpus.ToString(CultureInfo.InvariantCulture);
            arguments.Add(shape.Type.GpuOption.Replace("{gpus}", number, StringComparison.Ordinal));
        }

        arguments.AddRange(shape.Type.Arguments);
        arguments.Add(order.Script);
        return arguments;
    }

    private static string Number(string option, int value) =>
        $"{option}={value.ToString(CultureInfo.InvariantCulture)}";

    private static async Task<string> AskAsync(IReadOnlyList<string> command, CancellationToken cancel)
    {
        var answer = await SiteProgram.RunAsync(command, null, NoVariables, cancel);
        return answer.Code == 0 ? answer.Output : throw new BatchAwayException(answer.Text);
    }
}
