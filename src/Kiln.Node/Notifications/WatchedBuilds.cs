using Kiln.BuildSpec;
using Kiln.BuildSpec.Recipes;
using Kiln.Oci;
using Microsoft.Extensions.Logging;

namespace Kiln.Node.Notifications;

/// <summary>
/// Builds that notifications led to, each a file, written before what it says is acted upon; a node that died goes on from there.
/// <code>
/// builds/ID.json
/// logs/ID-TASK.log
/// </code>
/// </summary>
internal sealed partial class WatchedBuilds
{
    private const int MaxOwn = 10_000;
    private const long HourMilliseconds = 3_600_000;

    private readonly NotificationOptions _options;
    private readonly string _folder;
    private readonly SortedDictionary<string, WatchedBuild> _builds = new(StringComparer.Ordinal);
    private readonly List<(string Registry, string Repository, long Created)> _recent = [];
    private readonly Queue<Digest> _ownOrder = new();
    private readonly HashSet<Digest> _own = [];
    private readonly Lock _lock = new();
    private readonly Wakeup _wakeup = new();

    /// <summary>Reads what is there. Builds that ran when the node died are queued again; the attempt counts.</summary>
    public WatchedBuilds(NotificationOptions options, ILogger log)
    {
        _options = options;
        _folder = System.IO.Directory.CreateDirectory(Path.Combine(options.Directory, "builds")).FullName;
        Logs = System.IO.Directory.CreateDirectory(Path.Combine(options.Directory, "logs")).FullName;
        var (builds, broken) = DurableFile.ReadAll(_folder, NotificationJson.Default.WatchedBuild);
        foreach (var build in builds)
        {
            _builds[build.Id] = build with
            {
                Tasks = [.. build.Tasks.Select(task => Again(build, task, options.MaxAttempts))],
            };
            _recent.Add((build.Registry, build.Repository, build.Created));
            NoteOwn([build.Result, .. build.Tasks.Select(task => task.Manifest?.Digest)]);
        }

        foreach (var path in broken)
        {
            LogBroken(log, path);
            File.Delete(path);
        }
    }

    /// <summary>The folder of logs.</summary>
    public string Logs { get; }

    /// <summary>Ends when something has changed.</summary>
    public Task Changed => _wakeup.Changed;

    /// <summary>Oldest first.</summary>
    public IReadOnlyList<WatchedBuild> All
    {
        get
        {
            lock (_lock)
            {
                return [.. _builds.Values];
            }
        }
    }

    public WatchedBuild? Find(string id)
    {
        lock (_lock)
        {
            return _builds.GetValueOrDefault(id);
        }
    }

    /// <summary>Where a task's log is.</summary>
    public string LogOf(string build, string task) => Path.Combine(Logs, $"{build}-{task}.log");

    /// <summary>Keeps a build; durable when this returns.</summary>
    public void Add(WatchedBuild build)
    {
        lock (_lock)
        {
            Write(build);
            _recent.Add((build.Registry, build.Repository, build.Created));
            Trim();
        }

        _wakeup.Set();
    }

    /// <summary>Changes a build; durable when this returns.</summary>
    public WatchedBuild Change(string id, Func<WatchedBuild, WatchedBuild> change)
    {
        WatchedBuild changed;
        lock (_lock)
        {
            changed = change(_builds[id]);
            Write(changed);
            if (changed.Finished is not null)
            {
                Trim();
            }
        }

        _wakeup.Set();
        return changed;
    }

    /// <summary>
    /// Takes the next task that a node can build: of the repository with the fewest running ones, the oldest.
    /// </summary>
    /// <param name="now">Milliseconds since 1970.</param>
    public (WatchedBuild Build, WatchedTask Task)? Take(LeaseClaim claim, long now)
    {
        lock (_lock)
        {
            var open = _builds
                .Values.Where(build => build.Finished is null && build.State != BuildStates.Failed)
                .ToList();
            var running = open.SelectMany(build =>
                    build.Tasks.Where(t => t.State == BuildStates.Running).Select(_ => Place(build))
                )
                .CountBy(place => place)
                .ToDictionary();
            var next = open.OrderBy(build => running.GetValueOrDefault(Place(build)))
                .SelectMany(build => build.Tasks.Select(task => (Build: build, Task: task)))
                .FirstOrDefault(pair =>
                    pair.Task.State == BuildStates.Queued && pair.Task.NotBefore <= now && Fits(pair.Task, claim)
                );
            if (next.Build is null)
            {
                return null;
            }

            var task = next.Task with
            {
                State = BuildStates.Running,
                Attempt = next.Task.Attempt + 1,
                Started = next.Task.Started ?? now,
            };
            var build = next.Build.With(task) with { State = BuildStates.Running };
            Write(build);
            return (build, task);
        }
    }

    /// <summary>When the next queued task may be taken that may not yet; null where there is none.</summary>
    public long? NextDue(long now)
    {
        lock (_lock)
        {
            return _builds
                .Values.Where(build => build.Finished is null)
                .SelectMany(build => build.Tasks)
                .Where(task => task.State == BuildStates.Queued && task.NotBefore > now)
                .Min(task => (long?)task.NotBefore);
        }
    }

    /// <summary>Builds in which nothing is left to be built, and whose end is still to be told to their registries.</summary>
    public IReadOnlyList<WatchedBuild> Undelivered
    {
        get
        {
            lock (_lock)
            {
                return [.. _builds.Values.Where(build => build.Finished is null && build.IsBuilt)];
            }
        }
    }

    /// <summary>Ends builds of registries that are not watched any more.</summary>
    public void Forget(Func<string, bool> isUnknown)
    {
        foreach (var build in All.Where(build => build.Finished is null && isUnknown(build.Registry)))
        {
            Change(
                build.Id,
                b =>
                    b with
                    {
                        State = BuildStates.Failed,
                        Reason = FailureReasons.PolicyDenied,
                        Message = $"the registry {b.Registry} is not watched any more",
                        Finished = b.Created,
                    }
            );
        }
    }

    /// <summary>When a build of a repository may be started again; null for now.</summary>
    /// <param name="perHour">Builds in an hour.</param>
    public long? NotBefore(string registry, string repository, int perHour, long now)
    {
        lock (_lock)
        {
            _recent.RemoveAll(build => build.Created <= now - HourMilliseconds);
            var recent = _recent
                .Where(build => (build.Registry, build.Repository) == (registry, repository))
                .Select(build => build.Created)
                .Order()
                .ToList();
            return recent.Count < perHour ? null : recent[^perHour] + HourMilliseconds;
        }
    }

    /// <summary>Notes manifests that this node has pushed: a notification of them asks for nothing.</summary>
    public void NoteOwn(IEnumerable<Digest?> digests)
    {
        lock (_lock)
        {
            foreach (var digest in digests.OfType<Digest>().Where(_own.Add))
            {
                _ownOrder.Enqueue(digest);
            }

            while (_ownOrder.Count > MaxOwn)
            {
                _own.Remove(_ownOrder.Dequeue());
            }
        }
    }

    /// <summary>Whether this node has pushed a manifest.</summary>
    public bool IsOwn(Digest digest)
    {
        lock (_lock)
        {
            return _own.Contains(digest);
        }
    }

    // A build that takes the node down with it must not do so for ever.
    private static WatchedTask Again(WatchedBuild build, WatchedTask task, int attempts) =>
        task.State != BuildStates.Running ? task
        : build.State == BuildStates.Failed ? task.Canceled(task.Started)
        : task.Attempt < attempts ? task with { State = BuildStates.Queued }
        : task with
        {
            State = BuildStates.Failed,
            Finished = task.Started,
            Reason = FailureReasons.AttemptsExhausted,
            Message = $"the node ended {task.Attempt} times while it was built",
        };

    private static (string Registry, string Repository) Place(WatchedBuild build) => (build.Registry, build.Repository);

    private static bool Fits(WatchedTask task, LeaseClaim claim) =>
        claim
            .Platforms.Concat(task.Task.Emulation is null ? claim.EmulatedPlatforms ?? [] : [])
            .Contains(task.Task.Platform.ToString(), StringComparer.Ordinal)
        && (
            BuildTargets.Finer(task.Task.Platform, task.Microarchitecture) is not { } finer
            || claim.Microarchitectures?.Contains(finer, StringComparer.Ordinal) is true
        )
        && claim.Recipes.Contains(task.Task.RecipeType, StringComparer.Ordinal)
        && task.Task.Resources?.Over(claim.Resources ?? new BuildResources()) is null;

    private void Write(WatchedBuild build)
    {
        DurableFile.Write(PathOf(build.Id), build, NotificationJson.Default.WatchedBuild);
        _builds[build.Id] = build;
    }

    // What is over goes, the oldest first.
    private void Trim()
    {
        var over = _builds.Values.Where(build => build.Finished is not null).ToList();
        foreach (var build in over.Take(over.Count - _options.MaxKept))
        {
            _builds.Remove(build.Id);
            File.Delete(PathOf(build.Id));
            foreach (var task in build.Tasks)
            {
                File.Delete(LogOf(build.Id, task.Id));
            }
        }
    }

    private string PathOf(string id) => Path.Combine(_folder, id + ".json");

    [LoggerMessage(Level = LogLevel.Warning, Message = "{File} cannot be read and is dropped; push that recipe again")]
    private static partial void LogBroken(ILogger log, string file);
}
