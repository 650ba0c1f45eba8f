namespace Kiln.Server.Builds.Progress;

/// <summary>A time that is over after a while, whatever the clock of the day is set to meanwhile, and also where it stands.</summary>
internal readonly struct Deadline(TimeProvider time, TimeSpan wait)
{
    private readonly long _start = time.GetTimestamp();

    /// <summary>How much of it is left; zero or less where it is over.</summary>
    public TimeSpan Left => wait - time.GetElapsedTime(_start);
}
