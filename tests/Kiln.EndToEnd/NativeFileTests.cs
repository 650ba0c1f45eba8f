using System.Text.RegularExpressions;
using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>The native file runs where glibc is as old as is said.</summary>
public sealed partial class NativeFileTests(Machine machine, OldRootServer server) : IClassFixture<OldRootServer>
{
    // Debian's mirrors have no release any more with just this one: down to it, the versions of symbols are what there is to look at.
    private static readonly Version OldestGlibc = new(2, 28);

    [Fact]
    public void No_symbol_is_newer_than_the_glibc_that_is_stated()
    {
        machine.NeedsNative();
        machine.Needs("readelf");

        var read = machine.RunAsUser("readelf", "-W", "--version-info", machine.Native!).Ok().Output;

        var versions = NeededVersion().Matches(read).Select(match => match.Groups[1].Value).Distinct().ToList();
        Assert.NotEmpty(versions);
        Assert.All(
            versions,
            version => Assert.True(Version.Parse(version) <= OldestGlibc, $"GLIBC_{version} is needed")
        );
        var stated = StatedVersion().Matches(File.ReadAllText(Path.Combine(machine.Source, "README.md")));
        Assert.Equal(OldestGlibc.ToString(), Assert.Single(stated).Groups[1].Value);
    }

    /// <summary>Others may not be there, or be another version of themselves.</summary>
    [Fact]
    public void Nothing_but_glibc_is_needed()
    {
        machine.NeedsNative();
        machine.Needs("readelf");

        var read = machine.RunAsUser("readelf", "-W", "--dynamic", machine.Native!).Ok().Output;

        Assert.Equal(
            ["libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1"],
            NeededLibrary().Matches(read).Select(match => match.Groups[1].Value).Order(StringComparer.Ordinal)
        );
    }

    [Fact]
    public void It_runs_with_an_old_glibc()
    {
        server.Root.Needed();

        machine.RunAsUser([.. server.Root.Kiln, "--version"]).Ok();
        // What a machine without a single program builds is nothing, which is no error.
        var probe = machine.RunAsUser([.. server.Root.Kiln, "node", "--probe"]).Exits(3);

        Assert.Matches($@"(?m)^glibc +{Regex.Escape(server.Root.Glibc.ToString())}$", probe.Output);
    }

    /// <summary>Its database, its checksums and its client do, and not only its start.</summary>
    [Fact]
    public void A_registry_works_with_an_old_glibc()
    {
        server.Root.Needed();

        var checks = machine.RunAsUser([
            .. server.Root.Kiln,
            "conformance",
            $"http://{server.Host}",
            "--category",
            "store",
            "--category",
            "discover",
        ]);

        Assert.True(checks.ExitCode == 0, $"{checks.Output}\n{checks.Error}\n{server.Log()}");
    }

    [GeneratedRegex(@"Name: GLIBC_([0-9.]+)")]
    private static partial Regex NeededVersion();

    [GeneratedRegex(@"\(NEEDED\)\s+Shared library: \[(.*)\]")]
    private static partial Regex NeededLibrary();

    [GeneratedRegex(@"glibc ([0-9.]+[0-9]) (?:and|or) newer")]
    private static partial Regex StatedVersion();
}
