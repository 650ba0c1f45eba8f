using System.Data.Common;
using Kiln.BuildSpec;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Metadata;

namespace Kiln.Server.Builds.Progress;

/// <summary>
/// The log of a job: those of its tasks one after the other. A task's log begins to show when the ones before it are
/// complete, so that this too only ever grows at its end.
/// </summary>
internal sealed class JobLog(Database database)
{
    /// <summary>How far the log goes now, and whether it will go further.</summary>
    /// <param name="task">One task's log alone (<c>t1</c>…); null for all.</param>
    /// <returns>Null where there is no such job or task.</returns>
    public JobLogState? Look(string job, string? task) =>
        database.Read(c =>
        {
            var row = JobRow.Find(c, job);
            var parts = Parts(c, job, task);
            return row is null || (task is not null && parts.Count == 0)
                ? null
                : new JobLogState(
                    Visible(parts).Sum(p => p.Size),
                    row.Finished is not null || parts.TrueForAll(p => p.Complete)
                );
        });

    /// <summary>Reads from a byte offset; 0 bytes at the end of what is there.</summary>
    public int Read(string job, string? task, long offset, Memory<byte> buffer) =>
        database.Read(c =>
        {
            var read = 0;
            foreach (var part in Visible(Parts(c, job, task)))
            {
                if (offset < part.Size && read < buffer.Length)
                {
                    var count = BuildLog.Read(c, part.Execution, offset, buffer.Span[read..]);
                    read += count;
                    offset += count;
                }

                offset -= part.Size;
            }

            return read;
        });

    private static IEnumerable<Part> Visible(List<Part> parts)
    {
        var open = parts.FindIndex(p => !p.Complete);
        return open < 0 ? parts : parts.Take(open + 1);
    }

    private static List<Part> Parts(DbConnection connection, string job, string? task) =>
        TaskRow
            .Of(connection, job)
            .Where(t => task is null || t.Id == task)
            .Select(t => new Part(t.Execution.Id, t.Execution.LogSize, BuildStates.IsDone(t.Execution.State)))
            .ToList();

    private sealed record Part(string Execution, long Size, bool Complete);
}

/// <summary>The state of a log.</summary>
/// <param name="Size">Bytes so far.</param>
/// <param name="Complete">Nothing will be added.</param>
internal sealed record JobLogState(long Size, bool Complete);
