using Kiln.BuildSpec;
using Kiln.Node.Launchers;
using Microsoft.Extensions.Logging.Abstractions;

namespace Kiln.Tests.Node;

/// <summary>How a node speaks with its batch system: not too often, and never twice for one build.</summary>
public sealed class BatchDeskTests : IAsyncDisposable
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(20);
    private static readonly JobShape Shape = TypeChoice
        .Choose([new NodeType { Name = "t", Platforms = [Oci.Platform.LinuxAmd64] }], NodeSamples.Lease.Task)
        .Shape!;

    private readonly TestBatch _system = new();
    private readonly CancellationTokenSource _over = new();
    private readonly BatchDesk _desk;
    private readonly Task _running;
    private bool _untouched = true;

    public BatchDeskTests()
    {
        _desk = new BatchDesk(_system, Interval, TimeSpan.FromDays(1), TimeProvider.System, NullLogger.Instance);
        _running = _desk.RunAsync(_over.Token);
    }

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public async ValueTask DisposeAsync()
    {
        await _over.CancelAsync();
        await _running;
        _over.Dispose();
    }

    [Fact]
    public async Task A_submission_whose_answer_was_lost_is_found_by_its_name()
    {
        _system.Submit = order =>
        {
            _system.Put("7", order.Name, BatchState.Pending, "Resources");
            return new Submission(SubmissionKind.Unknown, "Socket timed out");
        };
        var ticket = Add("kiln-a");

        await UntilAsync(() => ticket.Said == "test job 7 waits: Resources");

        Assert.Equal("7", ticket.Job);
        Assert.Equal(1, _system.Submissions);
    }

    [Fact]
    public async Task A_submission_that_was_not_heard_is_made_again_once_that_is_known()
    {
        _system.Submit = _ => new Submission(SubmissionKind.Unknown, "Socket timed out");
        _system.Away = "no controller";
        var ticket = Add("kiln-a");
        await UntilAsync(() => ticket.Said.Contains("test does not answer since", StringComparison.Ordinal));
        await Task.Delay(Interval * 20, Cancel);
        Assert.Equal(1, _system.Submissions);

        _system.Submit = null;
        _system.Away = null;
        await UntilAsync(() => ticket.Job is not null);
        Assert.Equal(2, _system.Submissions);
    }

    [Fact]
    public async Task What_an_earlier_process_left_is_looked_for_before_it_is_submitted()
    {
        _system.Put("7", "kiln-a", BatchState.Running, "");
        var found = Add("kiln-a", doubtful: true);
        var lost = Add("kiln-b", doubtful: true);
        await UntilAsync(() => found.Job == "7" && lost.Job is not null);
        Assert.Equal(["kiln-b"], _system.Names);
    }

    [Fact]
    public async Task What_a_job_has_taken_and_nobody_knows_of_is_lost_and_not_submitted_again()
    {
        _untouched = false;
        var ticket = Add("kiln-a", doubtful: true);
        await UntilAsync(() => ticket.End is not null);
        Assert.Equal(BatchEndKind.Lost, ticket.End!.Kind);
        Assert.Equal(0, _system.Submissions);
    }

    [Fact]
    public async Task A_job_that_is_in_no_list_any_more_is_looked_up()
    {
        var known = Add("kiln-a");
        var gone = Add("kiln-b");
        await UntilAsync(() => known.Job is not null && gone.Job is not null);
        var id = known.Job!;
        _system.Later[id] = new BatchJob(id, "", BatchState.OutOfMemory, "OUT_OF_MEMORY", "", "cn1");
        _system.Clear();

        await UntilAsync(() => known.End is not null && gone.End is not null);
        Assert.Equal((BatchEndKind.OutOfMemory, BatchEndKind.Lost), (known.End!.Kind, gone.End!.Kind));
    }

    [Fact]
    public async Task A_job_that_goes_back_into_the_queue_is_cancelled_there()
    {
        var ticket = Add("kiln-a");
        await UntilAsync(() => ticket.Job is not null);
        _system.Put(ticket.Job!, "kiln-a", BatchState.Running, "");
        await UntilAsync(() => ticket.HasRun);
        _system.Put(ticket.Job!, "kiln-a", BatchState.Pending, "BeginTime");

        await UntilAsync(() => ticket.End is not null && _system.Canceled.Contains(ticket.Job!));
        Assert.Equal(BatchEndKind.Requeued, ticket.End!.Kind);
    }

    [Fact]
    public async Task A_job_that_went_back_before_anybody_saw_it_run_is_cancelled_too()
    {
        var ticket = Add("kiln-a");
        await UntilAsync(() => ticket.Seen is not null);
        _untouched = false;

        await UntilAsync(() => ticket.End is not null && _system.Canceled.Contains(ticket.Job!));
        Assert.Equal(BatchEndKind.Requeued, ticket.End!.Kind);
    }

    [Fact]
    public async Task A_list_that_is_older_than_the_start_of_a_job_says_nothing_of_a_requeue()
    {
        using var over = new CancellationTokenSource();
        var slow = new BatchDesk(_system, Interval * 5, TimeSpan.MaxValue, TimeProvider.System, NullLogger.Instance);
        var running = slow.RunAsync(over.Token);
        var ticket = Ticket("kiln-a");
        slow.Add(ticket);
        await UntilAsync(() => ticket.Seen is not null);
        _untouched = false;
        // A look later the batch system knows it too.
        await UntilAsync(() => ticket.Confirmed > ticket.TakenSince);
        Assert.Equal(BatchState.Pending, ticket.Seen!.State);
        _system.Put(ticket.Job!, "kiln-a", BatchState.Running, "");
        await UntilAsync(() => ticket.HasRun);

        Assert.Null(ticket.End);
        Assert.Empty(_system.Canceled);
        await over.CancelAsync();
        await running;
    }

    [Theory]
    [InlineData(BatchState.Requeued, 0, BatchEndKind.Requeued)]
    [InlineData(BatchState.Pending, 2, BatchEndKind.WaitedTooLong)]
    public async Task What_nobody_waits_for_any_more_is_cancelled_all_the_same(object state, int days, object end)
    {
        var ticket = Ticket("kiln-a", TimeSpan.FromDays(days));
        ticket.Remember("7");
        _system.Put("7", "kiln-a", (BatchState)state, "why");
        var left = LeaveAtEndAsync(ticket);
        _desk.Add(ticket);

        await left;
        await UntilAsync(() => _system.Canceled.Contains("7"));

        Assert.Equal((BatchEndKind)end, ticket.End!.Kind);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_job_of_which_nobody_knows_whether_it_was_taken_is_cancelled_once_that_is_known(bool taken)
    {
        _system.Submit = _ => new Submission(SubmissionKind.Unknown, "Socket timed out");
        _system.Away = "no controller";
        var ticket = Add("kiln-a");
        await UntilAsync(() => ticket.Said.Contains("test does not answer since", StringComparison.Ordinal));
        _desk.Cancel(ticket);
        _desk.Leave(ticket);
        // Its folder is gone, which looks as if a job had taken what was in it.
        _untouched = false;
        await Task.Delay(Interval * 5, Cancel);
        if (taken)
        {
            _system.Put("7", "kiln-a", BatchState.Pending, "");
        }

        _system.Away = null;
        if (taken)
        {
            await UntilAsync(() => _system.Canceled.Contains("7"));
        }

        var asked = -1;
        await UntilAsync(() => asked == (asked = _system.Pauses.Count), Interval * 20);
        Assert.Equal(1, _system.Submissions);
        Assert.Equal(taken ? 1 : 0, _system.Canceled.Count);
    }

    [Fact]
    public void What_is_said_of_a_job_is_no_longer_than_a_registry_takes_it()
    {
        var ticket = Ticket("kiln-a");
        ticket.Say($"waits\n\u001b[31m: {new string('x', 987)}\U0001F40C{new string('y', 5000)}");

        Assert.StartsWith("waits [31m: xx", ticket.Said, StringComparison.Ordinal);
        Assert.InRange(ticket.Said.Length, 900, 1000);
        Assert.DoesNotContain(ticket.Said, c => char.IsControl(c) || char.IsHighSurrogate(c));
    }

    [Fact]
    public async Task A_cancel_ends_at_once_what_was_not_submitted_and_else_the_job()
    {
        _system.Submit = _ => new Submission(SubmissionKind.Later, "job submit limit");
        var waiting = Add("kiln-a");
        await UntilAsync(() => waiting.Said == "test takes no job now: job submit limit");
        _desk.Cancel(waiting);
        Assert.Equal(BatchEndKind.Canceled, waiting.End!.Kind);

        _system.Submit = null;
        var submitted = Add("kiln-b");
        await UntilAsync(() => submitted.Job is not null);
        _desk.Cancel(submitted);
        await UntilAsync(() => submitted.End?.Kind == BatchEndKind.Canceled);
        Assert.Equal([submitted.Job!], _system.Canceled);
    }

    [Fact]
    public async Task Of_two_jobs_of_one_build_the_one_that_lives_is_watched()
    {
        var ticket = Add("kiln-a");
        await UntilAsync(() => ticket.Job is not null);
        _system.Put("7", "kiln-a", BatchState.Running, "");
        _system.Put(ticket.Job!, "kiln-a", BatchState.Ended, "");

        await UntilAsync(() => ticket.Job == "7");
        Assert.Null(ticket.End);
    }

    [Fact]
    public async Task A_job_that_cannot_be_cancelled_keeps_no_other_from_being_submitted()
    {
        var stuck = Add("kiln-a");
        await UntilAsync(() => stuck.Job is not null);
        _system.CancelFault = "permission denied";
        _desk.Cancel(stuck);
        await UntilAsync(() => stuck.Said.Contains("permission denied", StringComparison.Ordinal));

        var other = Add("kiln-b");
        await UntilAsync(() => other.Job is not null);
    }

    [Fact]
    public async Task A_job_that_is_never_taken_does_not_wait_for_ever()
    {
        _system.Submit = _ => new Submission(SubmissionKind.Later, "AssocMaxSubmitJobLimit");
        var ticket = Add("kiln-a", waited: TimeSpan.FromDays(2));

        await UntilAsync(() => ticket.End is not null);

        Assert.Equal((BatchEndKind.WaitedTooLong, "AssocMaxSubmitJobLimit"), (ticket.End!.Kind, ticket.End.Text));
    }

    [Fact]
    public async Task However_many_builds_there_are_the_questions_keep_their_distance()
    {
        var tickets = Enumerable.Range(0, 30).Select(i => Add($"kiln-{i}")).ToList();
        await UntilAsync(() => tickets.TrueForAll(t => t.Job is not null));
        tickets.ForEach(_desk.Cancel);
        await UntilAsync(() => tickets.TrueForAll(t => t.End is not null));

        Assert.Equal(30, _system.Submissions);
        // Timers go by ticks of some milliseconds.
        Assert.All(_system.Pauses, pause => Assert.True(pause >= Interval * 0.7, $"{pause}"));
    }

    [Theory]
    [InlineData(BatchEndKind.Refused, FailureReasons.SystemError, false, "test refused the job: why")]
    [InlineData(
        BatchEndKind.Ended,
        FailureReasons.SystemError,
        true,
        "ended without a result (why); its last words: kiln: not found"
    )]
    [InlineData(BatchEndKind.Canceled, FailureReasons.SystemError, false, "was cancelled at the batch system")]
    [InlineData(BatchEndKind.TimedOut, FailureReasons.Timeout, false, "ran into its time limit of 3 min")]
    [InlineData(BatchEndKind.NodeFailed, FailureReasons.SystemError, true, "the machine of test job 7 failed on cn1")]
    [InlineData(BatchEndKind.Preempted, FailureReasons.SystemError, true, "was preempted")]
    [InlineData(
        BatchEndKind.OutOfMemory,
        FailureReasons.LimitExceeded,
        false,
        "used more memory than its limit of 4352 MiB"
    )]
    [InlineData(BatchEndKind.Requeued, FailureReasons.SystemError, true, "was put back into the queue")]
    [InlineData(BatchEndKind.Lost, FailureReasons.SystemError, true, "knows nothing of test job 7 any more")]
    [InlineData(BatchEndKind.WaitedTooLong, FailureReasons.SystemError, false, "waited longer in the queue")]
    public void Each_end_is_told_from_the_others_and_is_retried_or_reported(
        object kind,
        string reason,
        bool again,
        string message
    )
    {
        var ticket = Ticket("kiln-a");
        ticket.Remember("7");
        var job = new BatchJob("7", "kiln-a", BatchState.Ended, "X", "", "cn1");
        var end = new BatchEnd((BatchEndKind)kind, "why", job);

        var result = BatchEnds.ResultOf(end, ticket, "test", "kiln: not found", canceled: false);

        Assert.Equal((BuildStates.Failed, reason, again), (result.State, result.Reason, result.Retryable));
        Assert.Contains(message, result.Message, StringComparison.Ordinal);
        Assert.Equal(BuildStates.Canceled, BatchEnds.ResultOf(end, ticket, "test", "", canceled: true).State);
    }

    [Theory]
    [InlineData(
        "info: Kiln.Node[1] Building e1\nslurmstepd: error: killed\nwarn: Kiln.Node[2] away",
        "; its last words: slurmstepd: error: killed\nwarn: Kiln.Node[2] away"
    )]
    [InlineData("info: Kiln.Node[1] Building e1\ninfo: Kiln.Node[1] builds by subuid", "ended without a result (why)")]
    public void The_last_words_of_a_job_are_not_what_it_said_at_its_start(string output, string message)
    {
        var ticket = Ticket("kiln-a");
        ticket.Remember("7");
        var job = new BatchJob("7", "kiln-a", BatchState.Ended, "X", "", "cn1");

        var result = BatchEnds.ResultOf(new BatchEnd(BatchEndKind.Ended, "why", job), ticket, "test", output, false);

        Assert.EndsWith(message, result.Message, StringComparison.Ordinal);
    }

    private BatchTicket Add(string name, bool doubtful = false, TimeSpan waited = default)
    {
        var ticket = Ticket(name, waited);
        ticket.DoubtfulSince = doubtful ? TimeProvider.System.GetUtcNow() : null;
        _desk.Add(ticket);
        return ticket;
    }

    private BatchTicket Ticket(string name, TimeSpan waited = default) =>
        new(new BatchOrder(name, Shape, "script", "output"), TimeProvider.System.GetUtcNow() - waited)
        {
            Became = _ => { },
            IsUntouched = () => _untouched,
        };

    private async Task LeaveAtEndAsync(BatchTicket ticket)
    {
        while (ticket.End is null)
        {
            await ticket.ChangedAsync(TimeSpan.FromMinutes(1), TimeProvider.System, Cancel);
        }

        _desk.Leave(ticket);
    }

    private static async Task UntilAsync(Func<bool> done, TimeSpan? pause = null)
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(1));
        while (!done())
        {
            await Task.Delay(pause ?? TimeSpan.FromMilliseconds(5), patience.Token);
        }
    }
}
