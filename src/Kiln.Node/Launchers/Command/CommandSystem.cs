using System.Globalization;

namespace Kiln.Node.Launchers.Command;

/// <summary>
/// A batch system by three commands of the site's (docs/guide/slurm.md, "Other batch systems"). They are given words in
/// their environment, and say what they have to on standard output.
/// </summary>
internal sealed class CommandSystem(LauncherOptions options) : IBatchSystem
{
    // EX_TEMPFAIL of sysexits.h: it did not take the job, and may later.
    private const int TryLater = 75;

    private static readonly IReadOnlyDictionary<string, string> NoVariables = new Dictionary<string, string>();

    private static readonly Dictionary<string, BatchState> States = new(StringComparer.Ordinal)
    {
        ["pending"] = BatchState.Pending,
        ["running"] = BatchState.Running,
        ["requeued"] = BatchState.Requeued,
        ["ended"] = BatchState.Ended,
        ["canceled"] = BatchState.Canceled,
        ["timeout"] = BatchState.TimedOut,
        ["node-failed"] = BatchState.NodeFailed,
        ["preempted"] = BatchState.Preempted,
        ["out-of-memory"] = BatchState.OutOfMemory,
    };

    public string Name => "the batch system";

    public Task<string?> UnavailableAsync(CancellationToken cancel)
    {
        var missing = new[] { options.Submit, options.Status, options.Cancel }.FirstOrDefault(c =>
            Sandbox.Programs.Find(c[0]) is null
        );
        return Task.FromResult(
            missing is null ? null : $"the command '{missing[0]}' of the configuration is not on this machine"
        );
    }

    public async Task<Submission> SubmitAsync(BatchOrder order, CancellationToken cancel)
    {
        try
        {
            var answer = await SiteProgram.RunAsync(options.Submit, null, Variables(order), cancel);
            var job = answer.Output.Trim().Split('\n')[^1].Trim();
            return answer.Code switch
            {
                0 when IsJob(job) => new Submission(SubmissionKind.Accepted, job),
                0 => new Submission(SubmissionKind.Unknown, $"the submit command said no job but: {answer.Text}"),
                TryLater => new Submission(SubmissionKind.Later, answer.Text),
                _ => new Submission(SubmissionKind.Refused, answer.Text),
            };
        }
        catch (BatchAwayException e)
        {
            return new Submission(SubmissionKind.Unknown, e.Message);
        }
    }

    public async Task<IReadOnlyList<BatchJob>> ListAsync(IReadOnlyList<BatchTicket> wanted, CancellationToken cancel)
    {
        var input = string.Concat(wanted.Select(t => $"{t.Job ?? "-"} {t.Order.Name}\n"));
        var answer = await SiteProgram.RunAsync(options.Status, input, NoVariables, cancel);
        return answer.Code == 0 ? Jobs(answer.Output) : throw new BatchAwayException(answer.Text);
    }

    // The status command has said all that there is to say.
    public Task<BatchJob?> LookUpAsync(BatchTicket ticket, CancellationToken cancel) =>
        Task.FromResult<BatchJob?>(null);

    public async Task CancelAsync(IReadOnlyList<string> jobs, CancellationToken cancel)
    {
        var answer = await SiteProgram.RunAsync([.. options.Cancel, .. jobs], null, NoVariables, cancel);
        if (answer.Code != 0)
        {
            throw new BatchAwayException(answer.Text);
        }
    }

    /// <summary>Lines of <c>ID NAME STATE [NODE [REASON …]]</c>; <c>-</c> for what is not known.</summary>
    internal static IReadOnlyList<BatchJob> Jobs(string output)
    {
        var jobs = new List<BatchJob>();
        foreach (var line in output.Split('\n'))
        {
            var words = line.Split(' ', 5, StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
            if (words.Length >= 3 && States.TryGetValue(words[2], out var state))
            {
                var node = words.Length > 3 && words[3] != "-" ? words[3] : "";
                jobs.Add(
                    new BatchJob(
                        words[0],
                        words[1],
                        state,
                        words[2],
                        words.Length > 4 ? Sentence.Of(words[4]) : "",
                        node
                    )
                );
            }
        }

        return jobs;
    }

    private static bool IsJob(string job) => job.Length is > 0 and <= 128 && !job.Any(char.IsWhiteSpace);

    private static Dictionary<string, string> Variables(BatchOrder order)
    {
        var shape = order.Wanted;
        var variables = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["KILN_JOB_NAME"] = order.Name,
            ["KILN_JOB_SCRIPT"] = order.Script,
            ["KILN_JOB_OUTPUT"] = order.Output,
            ["KILN_JOB_TYPE"] = shape.Type.Name,
            ["KILN_JOB_CPUS"] = shape.Cpus.ToString(CultureInfo.InvariantCulture),
            ["KILN_JOB_MEMORY_MIB"] = shape.JobMebibytes.ToString(CultureInfo.InvariantCulture),
            ["KILN_JOB_GPUS"] = shape.Gpus.ToString(CultureInfo.InvariantCulture),
            ["KILN_JOB_MINUTES"] = shape.JobMinutes.ToString(CultureInfo.InvariantCulture),
            ["KILN_JOB_ARGUMENTS"] = string.Join(' ', shape.Type.Arguments),
        };
        foreach (var (name, value) in shape.Place)
        {
            variables["KILN_JOB_" + name.Replace('-', '_').ToUpperInvariant()] = value;
        }

        return variables;
    }
}
