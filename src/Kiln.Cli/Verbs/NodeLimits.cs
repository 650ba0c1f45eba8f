using System.CommandLine;
using Kiln.Node;
using Kiln.Server;

namespace Kiln.Cli.Verbs;

/// <summary>The options of <c>kiln node</c> that say what its builds may use.</summary>
internal sealed class NodeLimits
{
    private static readonly NodeOptions Defaults = new() { Directory = "", Name = "" };

    private readonly Option<int> _concurrent = Number("--concurrent-builds", "Builds at a time.", Defaults.Concurrency);
    private readonly Option<int> _processes = Number(
        "--build-processes",
        "Processes of one build.",
        Defaults.Processes
    );
    private readonly Option<long?> _memory = Size("--build-memory", "Memory of one build.", Defaults.MemoryBytes);
    private readonly Option<long?> _disk = Size("--build-disk", "Disk space of one build.", Defaults.DiskBytes);
    private readonly Option<long?> _context = Size(
        "--build-context",
        "Context of one build, unpacked.",
        Defaults.MaxContextBytes
    );

    /// <summary>Adds the options to a command.</summary>
    public static NodeLimits On(Command command)
    {
        var limits = new NodeLimits();
        foreach (
            var option in (Option[])
                [limits._concurrent, limits._memory, limits._disk, limits._processes, limits._context]
        )
        {
            command.Add(option);
        }

        return limits;
    }

    /// <summary>The builds at a time, where the command line says them.</summary>
    public int? Given(ParseResult parsed) =>
        parsed.GetResult(_concurrent) is { Implicit: false } ? parsed.GetValue(_concurrent) : null;

    /// <summary>The same node with what the command line says.</summary>
    public NodeOptions Apply(NodeOptions options, ParseResult parsed) =>
        options with
        {
            Concurrency = parsed.GetValue(_concurrent),
            Processes = parsed.GetValue(_processes),
            MemoryBytes = parsed.GetValue(_memory) ?? Defaults.MemoryBytes,
            DiskBytes = parsed.GetValue(_disk) ?? Defaults.DiskBytes,
            MaxContextBytes = parsed.GetValue(_context) ?? Defaults.MaxContextBytes,
        };

    private static Option<int> Number(string name, string description, int value) =>
        Arguments.Whole(name, description, least: 1, standard: value);

    // The standard is in the description, where it can be written as one would: 8GiB.
    private static Option<long?> Size(string name, string description, long value) =>
        new(name)
        {
            Description =
                $"{description} Bytes, or for example 500M or 8GiB. [default: {ConfigurationValues.Show(value)}]",
            HelpName = "SIZE",
            CustomParser = SizeArgument.ParseOptional,
        };
}
