namespace Kiln.EndToEnd.Harness;

/// <summary>What runs on this machine, by command line.</summary>
internal static class ProcessList
{
    /// <summary>Asserts that no process has this command line, once ended ones had a moment to go.</summary>
    public static async Task HasNoneAsync(string command)
    {
        var left = With(command);
        for (var tries = 0; left.Count > 0 && tries < 50; tries++)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(100));
            left = With(command);
        }
        Assert.Empty(left);
    }

    private static List<string> With(string command) =>
        Directory
            .EnumerateDirectories("/proc")
            .Where(directory => int.TryParse(Path.GetFileName(directory), out _))
            .Select(CommandLine)
            .Where(line => line.Contains(command, StringComparison.Ordinal))
            .ToList();

    private static string CommandLine(string process)
    {
        try
        {
            return File.ReadAllText(Path.Combine(process, "cmdline")).Replace('\0', ' ');
        }
        catch (IOException)
        {
            // It ended between the listing and this.
            return "";
        }
    }
}
