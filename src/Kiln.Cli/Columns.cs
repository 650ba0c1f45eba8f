namespace Kiln.Cli;

/// <summary>Text in columns.</summary>
internal static class Columns
{
    private const int Gap = 2;

    /// <summary>Writes rows of equal length, each column as wide as its widest cell; cells are made safe to show.</summary>
    public static void Write(TextWriter writer, IReadOnlyList<string[]> rows)
    {
        var safe = rows.Select(row => row.Select(TerminalText.Escape).ToArray()).ToList();
        foreach (var row in safe)
        {
            var cells = row.Select((cell, i) => cell.PadRight(safe.Max(r => r[i].Length) + Gap));
            writer.WriteLine(string.Concat(cells).TrimEnd());
        }
    }
}
