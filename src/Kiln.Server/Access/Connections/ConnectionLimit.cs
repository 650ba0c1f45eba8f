using System.Globalization;

namespace Kiln.Server.Access.Connections;

/// <summary>
/// How many connections are open at one time. Those beyond are closed unheard: a server that ran out of file descriptors
/// could not even do that, nor read a blob for those who are there.
/// </summary>
internal static class ConnectionLimit
{
    // Each may have a blob open beside its socket.
    private const int DescriptorsEach = 2;

    // The database, logs, libraries, builds.
    private const int DescriptorsElsewhere = 200;
    private const int Least = 16;

    /// <summary>What was asked for, or as many as the process has descriptors for.</summary>
    public static int Of(ServerOptions options) =>
        Of(options.MaxConnections, File.Exists("/proc/self/limits") ? File.ReadAllText("/proc/self/limits") : "");

    /// <inheritdoc cref="Of(ServerOptions)"/>
    /// <param name="limits">As <c>/proc/self/limits</c> has it: <c>Max open files  SOFT  HARD  files</c>.</param>
    internal static int Of(int wanted, string limits)
    {
        var line = limits.Split('\n').FirstOrDefault(l => l.StartsWith("Max open files", StringComparison.Ordinal));
        var soft = line?["Max open files".Length..].Split(' ', StringSplitOptions.RemoveEmptyEntries)[0];
        return long.TryParse(soft, NumberStyles.None, CultureInfo.InvariantCulture, out var descriptors)
            ? (int)Math.Min(wanted, Math.Max(Least, (descriptors - DescriptorsElsewhere) / DescriptorsEach))
            : wanted;
    }
}
