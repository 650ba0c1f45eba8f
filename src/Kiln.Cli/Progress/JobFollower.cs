using System.Threading.Channels;
using Kiln.BuildSpec;
using Kiln.Client.Builds;

namespace Kiln.Cli.Progress;

/// <summary>Follows all tasks of a job to its end, and shows them.</summary>
internal sealed class JobFollower(BuildClient builds, JobAddress address, IProgressView view)
{
    private static readonly TimeSpan Wait = TimeSpan.FromSeconds(30);

    /// <summary>Returns the job once it is done.</summary>
    public async Task<Job> FollowAsync(Job job, CancellationToken cancel)
    {
        if (!job.Done)
        {
            using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancel);
            var events = Channel.CreateBounded<(JobTask Task, JobEvent Event)>(256);
            var readers = job.Tasks.Select(task => ReadAsync(task, events.Writer, stop.Token)).ToList();
            var all = CompleteAsync(readers, events.Writer);
            try
            {
                await foreach (var (task, happened) in events.Reader.ReadAllAsync(cancel))
                {
                    Show(task, happened);
                }
            }
            finally
            {
                await stop.CancelAsync();
                await all;
            }
        }

        // The streams tell of the tasks; the job itself ends when its tags are written.
        while (!job.Done)
        {
            job = await builds.GetAsync(address, Wait, cancel);
        }

        view.Finished(job);
        return job;
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

    private async Task ReadAsync(
        JobTask task,
        ChannelWriter<(JobTask Task, JobEvent Event)> events,
        CancellationToken cancel
    )
    {
        await foreach (var happened in builds.FollowAsync(address, task.Id, 0, cancel))
        {
            await events.WriteAsync((task, happened), cancel);
        }
    }

    // The first failure ends the following; it is told through the channel.
    private static async Task CompleteAsync(List<Task> readers, ChannelWriter<(JobTask Task, JobEvent Event)> events)
    {
        Exception? failure = null;
        try
        {
            await foreach (var reader in Task.WhenEach(readers))
            {
                await reader;
            }
        }
        catch (Exception e)
        {
            failure = e;
        }

        events.TryComplete(failure);
    }
}
