using Kiln.BuildSpec;
using Kiln.Client.Builds;

namespace Kiln.Cli.Progress;

/// <summary>Plain lines, for pipes and logs: one for each step's begin and end, log lines indented.</summary>
internal sealed class PlainView(TextWriter writer) : IProgressView
{
    private readonly Dictionary<string, (LogLines Lines, StepTracker Steps)> _tasks = [];
    private readonly Dictionary<string, string> _phases = [];
    private bool _several;

    public void Accepted(Job job)
    {
        _several = job.Tasks.Count > 1;
        writer.WriteLine($"job {job.Repository} {job.Id}{(job.Cached ? ": answered from an earlier build" : "")}");
    }

    public void Log(JobTask task, string text)
    {
        foreach (var line in Of(task).Lines.Add(text))
        {
            writer.WriteLine($"    {Prefix(task)}{line}");
        }
    }

    public void State(JobTask task, TaskProgress progress)
    {
        Phase(task, TaskText.Phase(progress));
        foreach (var (step, _) in Of(task).Steps.Update(progress.Steps))
        {
            writer.WriteLine($"{Prefix(task)}#{step.Number} {StepTracker.Text(step)}");
        }
    }

    public void Ended(JobTask task)
    {
        Rest(task);
        Phase(task, TerminalText.Escape(task.State));
    }

    public void Finished(Job job)
    {
        foreach (var task in job.Tasks)
        {
            Rest(task);
        }
    }

    public IDisposable Pause() => this;

    public void Dispose() => writer.Flush();

    private void Phase(JobTask task, string phase)
    {
        if (_phases.GetValueOrDefault(task.Id) != phase)
        {
            _phases[task.Id] = phase;
            writer.WriteLine($"{Prefix(task)}{phase}");
        }
    }

    private void Rest(JobTask task)
    {
        if (Of(task).Lines.Rest() is { } rest)
        {
            writer.WriteLine($"    {Prefix(task)}{rest}");
        }
    }

    private string Prefix(JobTask task) => TaskText.Prefix(task, _several);

    private (LogLines Lines, StepTracker Steps) Of(JobTask task)
    {
        if (!_tasks.TryGetValue(task.Id, out var found))
        {
            found = _tasks[task.Id] = (new LogLines(), new StepTracker());
        }

        return found;
    }
}
