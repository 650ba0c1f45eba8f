using System.Runtime.CompilerServices;
using Kiln.BuildSpec;
using Kiln.Client;
using Kiln.Client.Builds;

namespace Kiln.Cli.Progress;

/// <summary>
/// Follows a job of a registry that may be away for a while, as when it is started anew: what fails so is tried again for
/// <see cref="Limit"/>, each time after a longer pause.
/// </summary>
/// <param name="builds">The registry.</param>
/// <param name="time">Measures how long it is away.</param>
/// <param name="say">Takes the sentence that it is; once each time.</param>
/// <param name="answered">Whether it has answered before: where it never has, its name may be wrong, and nobody waits.</param>
internal sealed class PatientBuilds(BuildClient builds, TimeProvider time, Action<string> say, bool answered)
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);
    private static readonly TimeSpan FirstPause = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(15);

    // A stream that ends sooner than this after it began has not shown that the registry is back for good.
    private static readonly TimeSpan Back = TimeSpan.FromSeconds(30);

    private volatile bool _answered = answered;

    // The tasks of a job are followed each by itself, and one of them is enough to say it.
    private int _said;

    public async IAsyncEnumerable<JobEvent> FollowAsync(
        JobAddress job,
        string? task,
        [EnumeratorCancellation] CancellationToken cancel
    )
    {
        var offset = 0L;
        var absence = new Absence(this);
        while (true)
        {
            await using var events = builds.FollowAsync(job, task, offset, cancel).GetAsyncEnumerator(cancel);
            while (true)
            {
                try
                {
                    if (!await events.MoveNextAsync())
                    {
                        yield break;
                    }
                }
                catch (RegistryException e) when (absence.MayPass(e))
                {
                    break;
                }

                absence.Answered();
                offset = events.Current is LogEvent log ? log.Offset : offset;
                yield return events.Current;
            }

            await absence.PauseAsync(cancel);
        }
    }

    /// <inheritdoc cref="BuildClient.GetAsync"/>
    public Task<Job> GetAsync(JobAddress job, TimeSpan wait, CancellationToken cancel) =>
        AskAsync(() => builds.GetAsync(job, wait, cancel), cancel);

    /// <inheritdoc cref="BuildClient.FindNewerAsync"/>
    public Task<Job?> FindNewerAsync(JobAddress job, int revision, TimeSpan wait, CancellationToken cancel) =>
        AskAsync(() => builds.FindNewerAsync(job, revision, wait, cancel), cancel);

    private async Task<T> AskAsync<T>(Func<Task<T>> ask, CancellationToken cancel)
    {
        var absence = new Absence(this);
        while (true)
        {
            try
            {
                var answer = await ask();
                absence.Answered();
                return answer;
            }
            catch (RegistryException e) when (absence.MayPass(e))
            {
                await absence.PauseAsync(cancel);
            }
        }
    }

    /// <summary>How long one call has had no answer.</summary>
    private sealed class Absence(PatientBuilds owner)
    {
        private DateTimeOffset? _since;
        private DateTimeOffset? _back;
        private TimeSpan _pause = FirstPause;

        /// <summary>Whether to try again; says so the first time.</summary>
        public bool MayPass(RegistryException e)
        {
            // What a proxy says whose registry is away counts as silence.
            if (!owner._answered || !(e.Fault == RegistryFault.Unreachable || e.Status is 502 or 503 or 504))
            {
                return false;
            }

            var now = owner.Now;
            if (_back is { } back && now - back >= Back)
            {
                (_since, _pause) = (null, FirstPause);
            }

            _back = null;
            if (_since is null && Interlocked.Exchange(ref owner._said, 1) == 0)
            {
                owner.Say(e);
            }

            _since ??= now;
            return now - _since < Limit;
        }

        public void Answered()
        {
            owner._answered = true;
            if (_since is not null && _back is null)
            {
                _back = owner.Now;
                Volatile.Write(ref owner._said, 0);
            }
        }

        public async Task PauseAsync(CancellationToken cancel)
        {
            await owner.PauseAsync(_pause, cancel);
            _pause = _pause * 2 < LongestPause ? _pause * 2 : LongestPause;
        }
    }

    private DateTimeOffset Now => time.GetUtcNow();

    private void Say(RegistryException e) =>
        say(TerminalText.Escape($"kiln: {e.Message}. Trying again for {Limit.TotalMinutes:0} minutes"));

    private Task PauseAsync(TimeSpan pause, CancellationToken cancel) => Task.Delay(pause, time, cancel);
}
