using System.Text;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Client.Builds;

namespace Kiln.Cli.Progress;

/// <summary>
/// One JSON object a line, for machines: <c>{"type":"job","job":…}</c> first and last,
/// <c>{"type":"log","task":…,"text":…}</c> and <c>{"type":"step","task":…,"step":…}</c> between.
/// </summary>
internal sealed class JsonView(TextWriter writer) : IProgressView
{
    private readonly Dictionary<string, StepTracker> _steps = [];

    public void Accepted(Job job) => Finished(job);

    public void Log(JobTask task, string text) =>
        Line(
            "log",
            json =>
            {
                json.WriteString("task", task.Id);
                json.WriteString("text", text);
            }
        );

    public void State(JobTask task, TaskProgress progress)
    {
        if (!_steps.TryGetValue(task.Id, out var tracker))
        {
            tracker = _steps[task.Id] = new StepTracker();
        }

        foreach (var (step, _) in tracker.Update(progress.Steps))
        {
            Line(
                "step",
                json =>
                {
                    json.WriteString("task", task.Id);
                    json.WriteStartObject("step");
                    json.WriteNumber("number", step.Number);
                    json.WriteNumber("total", step.Total);
                    json.WriteString("text", step.Text);
                    json.WriteBoolean("cached", step.Cached);
                    if (step.Milliseconds is { } milliseconds)
                    {
                        json.WriteNumber("milliseconds", milliseconds);
                    }

                    json.WriteEndObject();
                }
            );
        }
    }

    public void Ended(JobTask task)
    {
        // The job says it, which is the last line.
    }

    public void Finished(Job job) =>
        Line(
            "job",
            json =>
            {
                json.WritePropertyName("job");
                JsonSerializer.Serialize(json, job, BuildJson.Default.Job);
            }
        );

    public IDisposable Pause() => this;

    public void Dispose() => writer.Flush();

    private void Line(string type, Action<Utf8JsonWriter> members)
    {
        using var bytes = new MemoryStream();
        using (var json = new Utf8JsonWriter(bytes))
        {
            json.WriteStartObject();
            json.WriteString("type", type);
            members(json);
            json.WriteEndObject();
        }

        writer.WriteLine(Encoding.UTF8.GetString(bytes.GetBuffer(), 0, (int)bytes.Length));
        writer.Flush();
    }
}
