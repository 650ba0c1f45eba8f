namespace Kiln.Server.Metadata;

/// <summary>Time as the database keeps it.</summary>
internal static class Time
{
    /// <summary>Now, in Unix milliseconds.</summary>
    public static long Milliseconds(this TimeProvider time) => time.GetUtcNow().ToUnixTimeMilliseconds();
}
