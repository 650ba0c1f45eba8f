using System.Text;
using Kiln.BuildSpec;
using Kiln.Client.Builds;

namespace Kiln.Cli.Progress;

/// <summary>
/// Live progress on a terminal: ended steps scroll up and stay; below them the running ones with their time, and the
/// last lines of the log.
/// </summary>
internal sealed class TerminalView : IProgressView
{
    private const int TailLines = 6;
    private static readonly TimeSpan Refresh = TimeSpan.FromMilliseconds(200);

    // Erase from here down; lines beyond the width are cut, not wrapped, so that the height is known.
    private const string EraseBelow = "\u001b[J";
    private const string NoWrap = "\u001b[?7l";
    private const string Wrap = "\u001b[?7h";
    private const string Dim = "\u001b[2m";
    private const string Plain = "\u001b[0m";

    private sealed class TaskView(JobTask task)
    {
        public JobTask Task { get; } = task;
        public LogLines Lines { get; } = new();
        public StepTracker Steps { get; } = new();
        public Dictionary<int, (BuildStep Step, DateTimeOffset Since)> Running { get; } = [];
        public Queue<string> Tail { get; } = new();
        public string Phase { get; set; } = task.State;
        public bool Done { get; set; }
    }

    private readonly Lock _lock = new();
    private readonly TextWriter _writer;
    private readonly TimeProvider _time;
    private readonly Func<int> _terminalHeight;
    private readonly ITimer _timer;
    private readonly Dictionary<string, TaskView> _tasks = [];
    private readonly DateTimeOffset _begin;
    private int _height;
    private int _pauses;

    public TerminalView(Shell shell)
    {
        (_writer, _time, _terminalHeight) = (shell.Error, shell.Time, shell.Height);
        _begin = _time.GetUtcNow();
        _timer = _time.CreateTimer(_ => Redraw(_ => { }), null, Refresh, Refresh);
    }

    public void Accepted(Job job) =>
        Redraw(lines =>
        {
            foreach (var task in job.Tasks)
            {
                _tasks.TryAdd(task.Id, new TaskView(task));
            }

            lines.Add(
                $"{Dim}job {job.Repository} {job.Id}{(job.Cached ? ": answered from an earlier build" : "")}{Plain}"
            );
        });

    public void Log(JobTask task, string text) =>
        Redraw(_ =>
        {
            var view = Of(task);
            foreach (var line in view.Lines.Add(text))
            {
                view.Tail.Enqueue(line.Replace('\t', ' '));
                if (view.Tail.Count > TailLines)
                {
                    view.Tail.Dequeue();
                }
            }
        });

    public void State(JobTask task, TaskProgress progress) =>
        Redraw(lines =>
        {
            var view = Of(task);
            view.Phase = TaskText.Phase(progress);
            view.Done = progress.Done;
            foreach (var (step, ended) in view.Steps.Update(progress.Steps))
            {
                if (ended)
                {
                    view.Running.Remove(step.Number);
                    view.Tail.Clear();
                    lines.Add($"{Prefix(view)}{StepTracker.Text(step)}");
                }
                else
                {
                    view.Running[step.Number] = (step, _time.GetUtcNow());
                }
            }
        });

    public void Ended(JobTask task) => Redraw(_ => Of(task).Done = true);

    public void Finished(Job job) =>
        Redraw(lines =>
        {
            foreach (var view in _tasks.Values)
            {
                // What a failing step said last stays on the screen.
                if (job.State == BuildStates.Failed)
                {
                    lines.AddRange(view.Running.Values.Select(r => $"{Prefix(view)}{StepTracker.Text(r.Step)}"));
                    lines.AddRange(view.Tail.Select(line => $"    {line}"));
                    lines.AddRange(view.Lines.Rest() is { } rest ? [$"    {rest}"] : []);
                }

                view.Done = true;
            }
        });

    public IDisposable Pause()
    {
        lock (_lock)
        {
            Draw([], erase: true);
            _pauses++;
        }

        return new Resume(this);
    }

    public void Dispose()
    {
        _timer.Dispose();
        lock (_lock)
        {
            Draw([], erase: true);
            _pauses++;
        }
    }

    private sealed class Resume(TerminalView view) : IDisposable
    {
        public void Dispose()
        {
            lock (view._lock)
            {
                view._pauses--;
            }
        }
    }

    private TaskView Of(JobTask task)
    {
        if (!_tasks.TryGetValue(task.Id, out var view))
        {
            view = _tasks[task.Id] = new TaskView(task);
        }

        return view;
    }

    private string Prefix(TaskView view) => TaskText.Prefix(view.Task, _tasks.Count > 1);

    /// <summary>Changes something under the lock, prints the lines that stay, and draws the live part anew.</summary>
    private void Redraw(Action<List<string>> change)
    {
        lock (_lock)
        {
            var lines = new List<string>();
            change(lines);
            if (_pauses > 0)
            {
                // Nothing of what stays may be lost behind a question.
                lines.ForEach(_writer.WriteLine);
            }
            else
            {
                Draw(lines, erase: false);
            }
        }
    }

    private void Draw(List<string> stay, bool erase)
    {
        var text = new StringBuilder(NoWrap).Append('\r');
        if (_height > 0)
        {
            text.Append($"\u001b[{_height}A");
        }

        text.Append(EraseBelow);
        stay.ForEach(line => text.Append(line).Append('\n'));
        var live = erase ? [] : Live();
        live.ForEach(line => text.Append(line).Append('\n'));
        _height = live.Count;
        _writer.Write(text.Append(Wrap).ToString());
        _writer.Flush();
    }

    private List<string> Live()
    {
        var lines = new List<string>();
        var now = _time.GetUtcNow();
        foreach (var view in _tasks.Values.Where(v => !v.Done))
        {
            lines.AddRange(
                view.Running.Values.Select(r => $"{Prefix(view)}{StepTracker.Text(r.Step)} {Sizes.Text(now - r.Since)}")
            );
            lines.AddRange(view.Tail.Select(line => $"{Dim}    {line}{Plain}"));
            lines.Add($"{Dim}{Prefix(view)}{view.Phase} {Sizes.Text(now - _begin)}{Plain}");
        }

        // The cursor can only go back to what is still on the screen.
        var room = Math.Max(1, _terminalHeight() - 1);
        return lines.Count <= room ? lines : lines[^room..];
    }
}
