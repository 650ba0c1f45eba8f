using System.Diagnostics;
using Kiln.Node.Engines.Apptainer;

namespace Kiln.Tests.Node;

/// <summary>What engine.sh makes of the paths that a definition names in its context.</summary>
public sealed class ApptainerContextTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("kiln-context-").FullName;
    private readonly string _context;

    public ApptainerContextTests()
    {
        _context = Path.Combine(_root, "build", "ctx");
        foreach (var directory in new[] { "dir/sub", ".hidden" })
        {
            Directory.CreateDirectory(Path.Combine(_context, directory));
        }

        foreach (var file in new[] { "a.txt", "b1.txt", "b[2].txt", " odd\\ ", "dir/x", "dir/sub/y", ".hidden/z" })
        {
            File.WriteAllText(Path.Combine(_context, file), file);
        }

        Directory.CreateSymbolicLink(Path.Combine(_context, "link"), "dir");
        Directory.CreateSymbolicLink(Path.Combine(_context, "absolute"), Path.Combine(_context, "dir"));
    }

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Theory]
    [InlineData("a.txt", "./a.txt")]
    [InlineData("b?.txt", "./b1.txt ./b[2].txt")]
    [InlineData("b[0-9].txt", "./b1.txt ./b[2].txt")]
    [InlineData("b[2].txt", "./b1.txt ./b[2].txt")]
    [InlineData("d*/[^x]ub/?", "./dir/sub/y")]
    [InlineData(".*/z", "./.hidden/z")]
    [InlineData("none*", "./none*")]
    [InlineData("none", "./none")]
    public void A_pattern_stands_for_all_that_Apptainer_could_take_it_for(string pattern, string names) =>
        Assert.Equal(names, Run("sources \"$1\" | tr '\\0' ' '", pattern).Trim());

    [Fact]
    public void All_that_changes_what_is_copied_changes_the_key()
    {
        Changes(
            "dir",
            () => Chmod("dir/sub", UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute)
        );
        Changes("dir", () => Chmod("dir/x", UnixFileMode.UserRead));
        Changes("link", () => File.WriteAllText(Path.Combine(_context, "dir/sub/y"), "other"));
        Changes("d?r", () => File.WriteAllText(Path.Combine(_context, "dir/sub/y"), "again"));
        Changes("d?r", () => Directory.CreateDirectory(Path.Combine(_context, "der")));
        Changes(" odd\\ ", () => File.WriteAllText(Path.Combine(_context, " odd\\ "), "other"));
        Assert.Equal(Key("copied", "a.txt"), Key("copied", "a.txt"));
        var tree = Key("taken", ".");
        File.Delete(Path.Combine(_context, "link"));
        Directory.CreateSymbolicLink(Path.Combine(_context, "link"), "dir/.");
        Assert.NotEqual(tree, Key("taken", "."));
    }

    [Theory]
    [InlineData("bad", "./bad")]
    [InlineData("bad/passwd", "./bad/passwd")]
    [InlineData("dir", "./dir/sub/up")]
    [InlineData("link", "./link/sub/up")]
    [InlineData("d?[r]", "./dir/sub/up")]
    [InlineData("ba?", "./bad")]
    public void A_source_that_leads_out_of_the_context_is_found(string source, string place)
    {
        Directory.CreateSymbolicLink(Path.Combine(_context, "bad"), "/etc");
        File.CreateSymbolicLink(Path.Combine(_context, "dir/sub/up"), "../../../..");
        Assert.Equal(
            $"Error: %files {source}: {place} leads out of the build's context\n",
            Run("printf '%s\\n' \"$1\" >\"$plan/1/files\"; : >\"$plan/1/local\"; stay_inside 1", source)
        );
    }

    [Fact]
    public void Sources_inside_and_links_that_no_source_reaches_are_left_alone()
    {
        Directory.CreateSymbolicLink(Path.Combine(_context, "bad"), "/etc");
        Assert.Equal(
            "",
            Run(
                "printf '%s\\n' link absolute/x dir '*.txt' none '.h*' >\"$plan/1/files\"; echo a.txt >\"$plan/1/local\"; stay_inside 1",
                ""
            )
        );
        Assert.Equal(
            "Error: From: bad leads out of the build's context\n",
            Run(": >\"$plan/1/files\"; echo bad >\"$plan/1/local\"; stay_inside 1", "")
        );
    }

    private void Changes(string source, Action change)
    {
        var before = Key("copied", source);
        change();
        Assert.NotEqual(before, Key("copied", source));
    }

    private void Chmod(string name, UnixFileMode mode) => File.SetUnixFileMode(Path.Combine(_context, name), mode);

    private string Key(string function, string path) => Run($"{function} \"$1\" | hash", path);

    // The part of the script that looks at the context, over ours.
    private string Run(string commands, string argument)
    {
        using var script = new StreamReader(
            typeof(DefinitionPlan).Assembly.GetManifestResourceStream("Kiln.Node.Engines.Apptainer.engine.sh")!
        );
        var text = script.ReadToEnd();
        text = text[..text.IndexOf("# The entries of a tree", StringComparison.Ordinal)]
            .Replace("/build/", $"{_root}/build/", StringComparison.Ordinal)
            .Replace("plan=/build", $"plan={_root}/build", StringComparison.Ordinal);
        text = text.Replace("stages=$1 epoch=$2\n", "", StringComparison.Ordinal);
        var start = new ProcessStartInfo("sh", ["-c", $"{text}\nmkdir -p $plan/1\n{commands}", "sh", argument])
        {
            RedirectStandardOutput = true,
            UseShellExecute = false,
        };
        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return output;
    }
}
