using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using Kiln.BuildSpec;
using Kiln.Client;
using Kiln.Inspect;
using Kiln.Node.Remote;
using Kiln.Oci;

namespace Kiln.Node.Notifications;

/// <summary>
/// The lease protocol without a Kiln: the queue is in the node's own directory, and the staging area is the foreign
/// registry, into which blobs and manifests go by digest. Nothing has a tag until all is there.
/// </summary>
internal sealed class WatchCoordinator(
    NotificationOptions options,
    IReadOnlyDictionary<string, WatchedPlace> places,
    WatchedBuilds builds,
    LayerShelf layers,
    TimeProvider time
) : IBuildCoordinator
{
    private const int HeartbeatSeconds = 10;
    private const int MaxContextEntries = 500_000;
    private static readonly TimeSpan RetryPause = TimeSpan.FromSeconds(10);
    private readonly ConcurrentDictionary<string, HeldLease> _held = new(StringComparer.Ordinal);
    private readonly string _spool = EmptySpool(options.Directory);

    public async Task<Lease?> ClaimAsync(LeaseClaim claim, TimeSpan wait, CancellationToken cancel)
    {
        var until = Now + (long)wait.TotalMilliseconds;
        while (true)
        {
            var changed = builds.Changed;
            if (builds.Take(claim, Now) is { } taken)
            {
                return Grant(taken.Build, taken.Task);
            }

            if (Now >= until)
            {
                return null;
            }

            var left = TimeSpan.FromMilliseconds(until - Now);
            await Wakeup.WaitAsync(changed, builds.NextDue(Now), left, time, cancel);
        }
    }

    public Task<LeaseHeartbeatReply> HeartbeatAsync(Lease lease, LeaseHeartbeat heartbeat, CancellationToken cancel)
    {
        // Where one target has failed, nobody gets what the others would deliver.
        var build = builds.Find(Held(lease).Build);
        return Task.FromResult(
            new LeaseHeartbeatReply { Canceled = build is null || build.State == BuildStates.Failed }
        );
    }

    public async Task AppendLogAsync(Lease lease, ReadOnlyMemory<byte> text, CancellationToken cancel)
    {
        var held = Held(lease);
        await held.Log.WaitAsync(cancel);
        try
        {
            if (held.LogIsFull)
            {
                return;
            }

            var path = builds.LogOf(held.Build, held.Task);
            var left = options.MaxLogBytes - (File.Exists(path) ? new FileInfo(path).Length : 0);
            await using var file = new FileStream(path, FileMode.Append, FileAccess.Write, FileShare.Read);
            await file.WriteAsync(text.Length <= left ? text : text[..(int)Math.Max(0, left)], cancel);
            if (text.Length > left)
            {
                held.LogIsFull = true;
                await file.WriteAsync(
                    Encoding.UTF8.GetBytes(
                        $"\n[the log is longer than {options.MaxLogBytes} bytes; the rest is left out]\n"
                    ),
                    cancel
                );
            }
        }
        finally
        {
            held.Log.Release();
        }
    }

    public async Task<bool> CompleteAsync(Lease lease, LeaseResult result, CancellationToken cancel)
    {
        var held = Held(lease);
        var (product, fault) =
            result.State == BuildStates.Succeeded
                ? await new ProductLook(held, layers, NewFile).LookAsync(lease.Task, result, cancel)
                : (null, null);
        builds.Change(
            held.Build,
            build => Ended(build, build.Tasks.Single(t => t.Id == held.Task), lease, result, product, fault)
        );
        _held.TryRemove(lease.Id, out _);
        // Its blobs and its manifest are in the repository by now; only its tags are still to be moved.
        return product is not null;
    }

    public Task GiveBackAsync(Lease lease, CancellationToken cancel)
    {
        var held = Held(lease);
        builds.Change(
            held.Build,
            build =>
                build.Tasks.Single(t => t.Id == held.Task) is { State: BuildStates.Running } task
                    // Of a build that has failed nothing is taken again, and its end waits for all of its targets.
                    ? build.With(
                        build.State == BuildStates.Failed
                            ? task.Canceled(Now)
                            : task with
                            {
                                State = BuildStates.Queued,
                                Attempt = task.Attempt - 1,
                            }
                    )
                    : build
        );
        _held.TryRemove(lease.Id, out _);
        return Task.CompletedTask;
    }

    public async Task<Stream?> OpenBlobAsync(Lease lease, Digest digest, CancellationToken cancel)
    {
        var held = Held(lease);
        var blob = lease.Task.Contexts.Select(c => c.Blob).Append(lease.Task.Recipe).First(b => b.Digest == digest);
        var path = NewFile();
        try
        {
            await held.Place.PatientlyAsync(
                async () =>
                {
                    await held.Place.Client.DownloadBlobAsync(held.Repository, blob, path, cancel);
                    return true;
                },
                cancel
            );
        }
        catch (RegistryException e) when (e.Fault == RegistryFault.NotFound)
        {
            return null;
        }

        // Gone once it is closed, whatever comes in between.
        var blobFile = new FileStream(
            path,
            FileMode.Open,
            FileAccess.Read,
            FileShare.Read,
            1 << 16,
            FileOptions.DeleteOnClose | FileOptions.Asynchronous
        );
        try
        {
            await ReadTreesAsync(held, lease, digest, path, cancel);
            return blobFile;
        }
        catch
        {
            await blobFile.DisposeAsync();
            throw;
        }
    }

    private async Task ReadTreesAsync(HeldLease held, Lease lease, Digest digest, string path, CancellationToken cancel)
    {
        foreach (var strip in lease.Task.Contexts.Where(c => c.Blob.Digest == digest).Select(c => c.Strip).Distinct())
        {
            await using var context = File.OpenRead(path);
            var limits = new ContextLimits(options.MaxContextBytes, MaxContextEntries);
            var (tree, fault) = await ContextTree.ReadAsync(context, strip, limits, cancel);
            held.Trees[(digest, strip)] =
                tree?.Digest
                ?? throw new FormatException($"the context {digest} is not a tar that can be used: {fault!.Message}");
        }
    }

    public Task<bool> HasBlobAsync(Lease lease, Digest digest, CancellationToken cancel)
    {
        var held = Held(lease);
        return held.Place.PatientlyAsync(
            async () => await held.Place.Client.FindBlobAsync(held.Repository, digest, cancel) is not null,
            cancel
        );
    }

    public async Task<(Digest Digest, long Size)> PushBlobAsync(
        Lease lease,
        Func<Stream, CancellationToken, Task> write,
        CancellationToken cancel
    )
    {
        var held = Held(lease);
        var path = NewFile();
        try
        {
            var blob = await SpooledBlob.WriteAsync(path, write, cancel);
            await held.Place.PatientlyAsync(
                () => held.Place.Client.PushBlobAsync(held.Repository, blob, () => File.OpenRead(path), cancel),
                cancel
            );
            held.Layers[blob.Digest] = await layers.ReadAsync(blob.Digest, path, cancel);
            return (blob.Digest, blob.Size);
        }
        finally
        {
            File.Delete(path);
        }
    }

    public async Task<Descriptor> PushManifestAsync(
        Lease lease,
        ReadOnlyMemory<byte> manifest,
        string mediaType,
        CancellationToken cancel
    )
    {
        var held = Held(lease);
        var digest = Digest.Of(manifest.Span);
        // Noted before it is there: the notification of it may come first.
        builds.NoteOwn([digest]);
        await held.Place.PatientlyAsync(
            () =>
                held.Place.Client.PushManifestAsync(
                    new Reference(held.Repository.Host, held.Repository.Name, Tag: null, digest),
                    mediaType,
                    manifest,
                    cancel
                ),
            cancel
        );
        held.Manifests[digest] = manifest.ToArray();
        return new Descriptor
        {
            MediaType = mediaType,
            Digest = digest,
            Size = manifest.Length,
        };
    }

    private long Now => time.GetUtcNow().ToUnixTimeMilliseconds();

    private Lease Grant(WatchedBuild build, WatchedTask task)
    {
        var place = places[build.Registry];
        var lease = new Lease
        {
            Id = Ids.New(time),
            Execution = $"{build.Id}-{task.Id}",
            // Steps are cached by it: repositories of two registries are two.
            Repository = place.Of(build.Repository).ToString(),
            Attempt = task.Attempt,
            HeartbeatSeconds = HeartbeatSeconds,
            Task = task.Task,
            Job = build.Id,
            TaskId = task.Id,
            Bases = new LeaseBases
            {
                Own = [place.Registry.Host, .. place.Registry.Aliases],
                Allow = options.AllowBases,
                Deny = options.DenyBases,
            },
        };
        _held[lease.Id] = new HeldLease(place, build, task);
        File.AppendAllText(
            builds.LogOf(build.Id, task.Id),
            string.Create(
                CultureInfo.InvariantCulture,
                $"# attempt {task.Attempt} of {place.Of(build.Repository)} for {task.Task.Platform}, {time.GetUtcNow():u}\n"
            )
        );
        return lease;
    }

    private WatchedBuild Ended(
        WatchedBuild build,
        WatchedTask task,
        Lease lease,
        LeaseResult result,
        Product? product,
        string? fault
    )
    {
        if (product is not null)
        {
            return build.With(
                task with
                {
                    State = BuildStates.Succeeded,
                    Finished = Now,
                    Manifest = product.Manifest,
                    Hints = product.Hints,
                    Key = product.Key,
                    Dependencies = result.ResolvedDependencies ?? [],
                    Confinement = result.Confinement,
                }
            );
        }

        var again =
            fault is not null
            || result.State == BuildStates.Canceled
            || result is { Retryable: true, Reason: FailureReasons.SystemError };
        if (again && build.State != BuildStates.Failed && lease.Attempt < options.MaxAttempts)
        {
            return build.With(
                task with
                {
                    State = BuildStates.Queued,
                    NotBefore = Now + (long)(RetryPause * lease.Attempt).TotalMilliseconds,
                    Message = fault ?? result.Message,
                }
            );
        }

        return Failed(
            build,
            task with
            {
                State =
                    result.State == BuildStates.Canceled && build.State == BuildStates.Failed
                        ? BuildStates.Canceled
                        : BuildStates.Failed,
                Finished = Now,
                Reason = fault is not null ? FailureReasons.ResultInvalid : result.Reason ?? FailureReasons.SystemError,
                Message = fault ?? result.Message,
            }
        );
    }

    // Without `partial` the first target that fails ends the others.
    private WatchedBuild Failed(WatchedBuild build, WatchedTask task)
    {
        var after = build.With(task);
        return build.Partial || build.State == BuildStates.Failed
            ? after
            : after with
            {
                State = BuildStates.Failed,
                Reason = task.Reason,
                Message = task.Message,
                Tasks = [.. after.Tasks.Select(t => t.State == BuildStates.Queued ? t.Canceled(Now) : t)],
            };
    }

    private HeldLease Held(Lease lease) =>
        _held.GetValueOrDefault(lease.Id) ?? throw new LeaseLostException($"the lease {lease.Id} is over");

    private string NewFile() => Path.Combine(_spool, Guid.NewGuid().ToString("n"));

    private static string EmptySpool(string directory)
    {
        var spool = Path.Combine(directory, "spool");
        if (Directory.Exists(spool))
        {
            Directory.Delete(spool, recursive: true);
        }

        return Directory.CreateDirectory(spool).FullName;
    }
}
