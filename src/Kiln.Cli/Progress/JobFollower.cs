using System.Threading.Channels;
using Kiln.BuildSpec;
using Kiln.Client.Builds;

namespace Kiln.Cli.Progress;

/// <summary>Follows all tasks of a job to its end, and shows them.</summary>
internal sealed class JobFollower(PatientBuilds builds, JobAddress address, IProgressView view)
{
    private static readonly TimeSpan Wait = TimeSpan.FromSeconds(30);

    /// <summary>Returns the job once it is done.</summary>
    public async Task<Job> FollowAsync(Job job, CancellationToken cancel)
    {
        if (!job.Done)
        {
            using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancel);
            var shows = Channel.CreateBounded<Action>(256);
            var reading = ReadAllAsync(job, shows.Writer, stop.Token);
            try
            {
                await foreach (var show in shows.Reader.ReadAllAsync(cancel))
                {
                    show();
                }
            }
            finally
            {
                await stop.CancelAsync();
                await reading.ContinueWith(_ => { }, CancellationToken.None, default, TaskScheduler.Default);
            }

            job = await reading;
        }

        view.Finished(job);
        return job;
    }

    /// <summary>Reads the tasks, also those that come later: what is made of an image is known when that is there.</summary>
    private async Task<Job> ReadAllAsync(Job job, ChannelWriter<Action> shows, CancellationToken cancel)
    {
        try
        {
            var known = new HashSet<string>(StringComparer.Ordinal);
            var readers = new Dictionary<Task, string>();
            while (true)
            {
                foreach (var task in job.Tasks.Where(task => known.Add(task.Id)))
                {
                    readers.Add(ReadAsync(task, shows, cancel), task.Id);
                }

                if (readers.Count == 0)
                {
                    if (job.Done)
                    {
                        shows.TryComplete();
                        return job;
                    }

                    // The job itself ends when its tags are written.
                    job = await builds.FindNewerAsync(address, job.Revision, Wait, cancel) ?? job;
                    continue;
                }

                var ended = await Task.WhenAny(readers.Keys);
                // The first failure ends the following.
                await ended;
                readers.Remove(ended, out var id);
                job = await builds.GetAsync(address, TimeSpan.Zero, cancel);
                if (job.Tasks.FirstOrDefault(task => task.Id == id) is { } last && BuildStates.IsDone(last.State))
                {
                    await shows.WriteAsync(() => view.Ended(last), cancel);
                }
            }
        }
        catch (Exception e)
        {
            // Whoever shows learns it when all that came before is shown.
            shows.TryComplete(e);
            throw;
        }
    }

    private async Task ReadAsync(JobTask task, ChannelWriter<Action> shows, CancellationToken cancel)
    {
        await foreach (var happened in builds.FollowAsync(address, task.Id, cancel))
        {
            await shows.WriteAsync(() => Show(task, happened), cancel);
        }
    }

    private void Show(JobTask task, JobEvent happened)
    {
        switch (happened)
        {
            case LogEvent log:
                view.Log(task, log.Text);
                break;
            case StateEvent state:
                view.State(task, state.Progress);
                break;
        }
    }
}
