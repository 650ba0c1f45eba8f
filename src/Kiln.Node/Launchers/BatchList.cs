namespace Kiln.Node.Launchers;

/// <summary>What a batch system has shown in one list.</summary>
internal sealed class BatchList(IReadOnlyList<BatchJob> jobs)
{
    // The older of two jobs has the shorter or smaller number.
    private static readonly Comparer<string> ByAge = Comparer<string>.Create(
        (a, b) => a.Length != b.Length ? a.Length - b.Length : string.CompareOrdinal(a, b)
    );

    private readonly ILookup<string, BatchJob> _byName = jobs.ToLookup(j => j.Name, StringComparer.Ordinal);
    private readonly ILookup<string, BatchJob> _byId = jobs.ToLookup(j => j.Id, StringComparer.Ordinal);

    /// <summary>
    /// The job of a ticket; null where there is none. Where it was submitted twice after all, the first one counts, and which
    /// one builds is settled by the hand-over. Where the one that counts is over, it may have been the other that got it.
    /// </summary>
    public BatchJob? Of(BatchTicket ticket)
    {
        var named = _byName[ticket.Order.Name];
        if (ticket.Job is null)
        {
            return named.MinBy(j => j.Id, ByAge);
        }

        var job = _byId[ticket.Job].FirstOrDefault();
        return job is { IsOver: false } ? job : named.Where(j => !j.IsOver).MinBy(j => j.Id, ByAge) ?? job;
    }
}
