namespace Kiln.Node.Launchers;

/// <summary>What a batch system says, for people: whoever writes it, it is one line of bounded length.</summary>
internal static class Sentence
{
    // Below what a registry takes as a build's progress (build-extension, N-6), which refuses what is longer.
    private const int MaxLength = 1000;

    public static string Of(string text)
    {
        var line = string.Join(' ', text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        line = new string([.. line.Where(c => !char.IsControl(c))]);
        return line.Length <= MaxLength
            ? line
            : line[..(MaxLength - (char.IsHighSurrogate(line[MaxLength - 1]) ? 1 : 0))];
    }
}
