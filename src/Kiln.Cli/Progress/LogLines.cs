using System.Text;

namespace Kiln.Cli.Progress;

/// <summary>Cuts log text that comes in pieces into whole lines, made safe to show.</summary>
internal sealed class LogLines
{
    // A line that never ends must not fill the memory.
    private const int MaxLine = 16 * 1024;

    private readonly StringBuilder _rest = new();
    private bool _returned;

    /// <summary>The lines that <paramref name="text"/> completes. A lone carriage return ends a line too: progress bars use it.</summary>
    public IEnumerable<string> Add(string text)
    {
        foreach (var c in text)
        {
            // The "\n" of a "\r\n" whose line went out with the "\r".
            var endsTwice = c == '\n' && _returned;
            _returned = c == '\r' && _rest.Length > 0;
            if (_returned || (c == '\n' && !endsTwice) || _rest.Length >= MaxLine)
            {
                yield return Take();
            }

            if (c is not ('\n' or '\r'))
            {
                _rest.Append(c);
            }
        }
    }

    /// <summary>What is left without an end of line; null where nothing is.</summary>
    public string? Rest() => _rest.Length == 0 ? null : Take();

    private string Take()
    {
        var line = TerminalText.Escape(_rest.ToString());
        _rest.Clear();
        return line;
    }
}
