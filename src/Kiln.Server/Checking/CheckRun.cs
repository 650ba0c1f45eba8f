namespace Kiln.Server.Checking;

/// <summary>One run of the check: what it is to do, and what it has found so far.</summary>
internal sealed class CheckRun(CheckOptions options, Action<CheckFinding> tell)
{
    private readonly Lock _lock = new();
    private CheckSummary _summary = new(0, 0, 0, 0, 0, 0, 0);

    public bool Repair => options.Repair;
    public bool Quick => options.Quick;
    public CheckSummary Summary
    {
        get
        {
            lock (_lock)
            {
                return _summary;
            }
        }
    }

    /// <summary>Counts what was looked at. May be called from several threads.</summary>
    public void Count(Func<CheckSummary, CheckSummary> add)
    {
        lock (_lock)
        {
            _summary = add(_summary);
        }
    }

    /// <summary>Tells of something that a repair cannot mend.</summary>
    public void Report(string kind, string subject, string meaning, string remedy) =>
        Tell(new CheckFinding(kind, subject, meaning, remedy));

    /// <summary>Tells of something that costs nothing.</summary>
    public void Note(string kind, string subject, string meaning, string remedy) =>
        Tell(new CheckFinding(kind, subject, meaning, remedy) { IsNote = true });

    /// <summary>Tells of something that can be mended, once that is done where it is to be done.</summary>
    public async Task MendAsync(string kind, string subject, string meaning, string remedy, Func<Task> mend)
    {
        if (Repair)
        {
            await mend();
        }

        Tell(new CheckFinding(kind, subject, meaning, remedy) { CanBeMended = true, IsMended = Repair });
    }

    private void Tell(CheckFinding finding)
    {
        lock (_lock)
        {
            _summary =
                finding.IsNote ? _summary with { Notes = _summary.Notes + 1 }
                : finding.IsMended ? _summary with { Mended = _summary.Mended + 1 }
                : _summary with { Left = _summary.Left + 1 };
            tell(finding);
        }
    }
}
