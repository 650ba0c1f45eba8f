namespace Kiln.Node.Launchers.Slurm;

/// <summary>
/// What Slurm's commands print. The text forms have been the same from 22.05 to 26.05, where those in JSON have not.
/// </summary>
internal static class SlurmText
{
    /// <summary>The format for <see cref="Jobs"/>: the name last, since it may contain anything.</summary>
    public const string ListFormat = "%A|%T|%r|%N|%j";

    /// <summary>The fields for <see cref="Accounted"/>.</summary>
    public const string AccountFormat = "State,NodeList";

    // squeue has no answer for what it could not read; a job that it shows is there.
    private static readonly Dictionary<string, BatchState> States = new(StringComparer.Ordinal)
    {
        ["PENDING"] = BatchState.Pending,
        // Its machines are chosen, and not ready yet.
        ["CONFIGURING"] = BatchState.Pending,
        ["RUNNING"] = BatchState.Running,
        ["SUSPENDED"] = BatchState.Running,
        ["STOPPED"] = BatchState.Running,
        ["RESIZING"] = BatchState.Running,
        ["SIGNALING"] = BatchState.Running,
        ["STAGE_OUT"] = BatchState.Running,
        ["COMPLETING"] = BatchState.Running,
        ["REQUEUED"] = BatchState.Requeued,
        ["REQUEUE_HOLD"] = BatchState.Requeued,
        ["REQUEUE_FED"] = BatchState.Requeued,
        ["SPECIAL_EXIT"] = BatchState.Requeued,
        ["RESV_DEL_HOLD"] = BatchState.Requeued,
        ["COMPLETED"] = BatchState.Ended,
        ["FAILED"] = BatchState.Ended,
        ["REVOKED"] = BatchState.Ended,
        ["CANCELLED"] = BatchState.Canceled,
        ["TIMEOUT"] = BatchState.TimedOut,
        ["DEADLINE"] = BatchState.TimedOut,
        ["NODE_FAIL"] = BatchState.NodeFailed,
        ["BOOT_FAIL"] = BatchState.NodeFailed,
        ["LAUNCH_FAILED"] = BatchState.NodeFailed,
        ["PREEMPTED"] = BatchState.Preempted,
        ["OUT_OF_MEMORY"] = BatchState.OutOfMemory,
    };

    // What sbatch says where it would take the same job at another time, and has not taken it now. Its sentence "Job violates
    // accounting/QOS policy (job submit limit, …)" stands for limits of every kind: the word before it tells which.
    private static readonly string[] LaterWords =
    [
        "temporarily unable to accept job",
        "MaxSubmitJob",
        "AssocMaxSubmit",
        "QOSMaxSubmit",
        "Resource temporarily unavailable",
        "backup controller",
        "standby mode",
        "Unable to contact slurm controller (connect failure)",
        "Could not establish a configuration source",
    ];

    // What it says where nobody knows whether the controller has heard it.
    private static readonly string[] DoubtWords =
    [
        "Unable to contact slurm controller",
        "Socket timed out",
        "Zero Bytes were transmitted",
        "Connection refused",
        "Connection reset",
        "Connection timed out",
        "Transport endpoint is not connected",
        "Protocol authentication error",
        "Communication connection failure",
        "Communications connection failure",
        "Unexpected message received",
        "munge",
        "Munge",
    ];

    /// <summary>The jobs in what <c>squeue -h -o</c> <see cref="ListFormat"/> prints.</summary>
    public static IReadOnlyList<BatchJob> Jobs(string output)
    {
        var jobs = new List<BatchJob>();
        foreach (var line in output.Split('\n'))
        {
            if (line.Split('|', 5) is [var id, var word, var reason, var node, var name])
            {
                jobs.Add(Job(id, name.Trim(), word.Trim(), reason.Trim(), node.Trim()));
            }
        }

        return jobs;
    }

    /// <summary>The job in what <c>scontrol -o show job</c> prints: one line of <c>Name=value</c>; null where there is none.</summary>
    public static BatchJob? Shown(string output)
    {
        var line = output.Split('\n').FirstOrDefault(l => l.StartsWith("JobId=", StringComparison.Ordinal));
        if (line is null)
        {
            return null;
        }

        // Values may contain blanks and equal signs; those that are read here do not.
        var words = line.Split(' ');
        string Value(string name) =>
            words.FirstOrDefault(w => w.StartsWith(name + "=", StringComparison.Ordinal)) is { } word
            && word[(name.Length + 1)..] is var value
            && value is not "(null)"
                ? value
                : "";
        var reason = Value("Reason") is var said && said is "None" ? "" : said;
        var exit = Value("ExitCode");
        return Job(
            Value("JobId"),
            Value("JobName"),
            Value("JobState"),
            exit is "" or "0:0" ? reason : $"{reason}{(reason.Length > 0 ? ", " : "")}exit code {exit}",
            Value("NodeList")
        );
    }

    /// <summary>
    /// The job in what <c>sacct -n -X -P -o</c> <see cref="AccountFormat"/> prints; null where accounting knows none. Its state
    /// may have words behind it, as in <c>CANCELLED by 1000</c>.
    /// </summary>
    public static BatchJob? Accounted(string id, string output) =>
        output.Split('\n').Select(l => l.Split('|')).LastOrDefault(f => f.Length >= 2) is { } fields
        && fields[0].Trim() is { Length: > 0 } state
            ? Job(
                id,
                "",
                state.Split(' ')[0].TrimEnd('+'),
                state,
                fields[1].Trim() is "None assigned" ? "" : fields[1].Trim()
            )
            : null;

    /// <summary>What became of a submission, by what <c>sbatch --parsable</c> said.</summary>
    public static Submission Submitted(SiteAnswer answer)
    {
        // ID, or ID;CLUSTER. What sites print before it is no matter.
        var last = answer.Output.Trim().Split('\n')[^1].Split(';')[0].Trim();
        if (answer.Code == 0)
        {
            return last.Length > 0 && last.All(char.IsAsciiDigit)
                ? new Submission(SubmissionKind.Accepted, last)
                : new Submission(SubmissionKind.Unknown, $"sbatch said no job but: {answer.Text}");
        }

        var kind =
            Has(answer.Errors, LaterWords) ? SubmissionKind.Later
            : Has(answer.Errors, DoubtWords) ? SubmissionKind.Unknown
            : SubmissionKind.Refused;
        return new Submission(kind, answer.Text);
    }

    private static bool Has(string text, string[] words) =>
        words.Any(word => text.Contains(word, StringComparison.Ordinal));

    private static BatchJob Job(string id, string name, string word, string reason, string node)
    {
        // A job whose start has failed is put back by Slurm itself, and held, whatever it was submitted with.
        var held = reason.Replace('_', ' ').Contains("launch failed requeued held", StringComparison.OrdinalIgnoreCase);
        var state = held ? BatchState.Requeued : States.GetValueOrDefault(word, BatchState.Running);
        return new BatchJob(id.Trim(), name, state, word, reason is "None" or "none" ? "" : reason, node);
    }
}
