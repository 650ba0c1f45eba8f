using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Kiln.Tests.Architecture;

namespace Kiln.Tests.Fuzz;

/// <summary>
/// Requests that nobody would make, thousands of them: never a 500, never a hang, always an answer in the OCI envelope
/// from what the registry answers itself, bounded memory, nothing lost and nothing half there.
/// <para>
/// <c>./check</c> sends some from a fixed seed. <c>./check --long</c> sets <c>KILN_FUZZ_SECONDS</c>, and sends from a new
/// seed as many as there is time for, to a server in this process and to the program. <c>KILN_FUZZ_SEED</c> repeats a run.
/// </para>
/// </summary>
public sealed class FuzzTests(ITestOutputHelper output)
{
    private const int FixedSeed = 20261125;
    private const int FewCases = 2500;

    private static int Seconds => Number("KILN_FUZZ_SECONDS") ?? 0;

    public static TheoryData<string> Samples =>
        [
            .. Directory
                .EnumerateFiles(Path.Combine(SourceTree.Root, "tests", "Kiln.Tests", "Fuzz", "Samples"), "*.http")
                .Select(f => new TheoryDataRow<string>(Path.GetFileName(f))),
        ];

    [Fact]
    public async Task Some_requests_from_a_fixed_seed()
    {
        await using var server = await FuzzServer.StartAsync();

        await RunAsync(server, FixedSeed, FewCases, TimeSpan.FromMinutes(5));
    }

    [Fact]
    public async Task As_many_requests_as_there_is_time_for()
    {
        Assert.SkipUnless(Seconds > 0, "NOT RUN: only ./check --long has time for it (KILN_FUZZ_SECONDS)");
        await using var server = await FuzzServer.StartAsync();

        await RunAsync(server, Seed(), int.MaxValue, TimeSpan.FromSeconds(Seconds));
    }

    [Fact]
    public async Task As_many_requests_to_the_program_as_there_is_time_for()
    {
        Assert.SkipUnless(Seconds > 0, "NOT RUN: only ./check --long has time for it (KILN_FUZZ_SECONDS)");
        await using var program = await FuzzProgram.StartAsync();

        await RunAsync(program, Seed(), int.MaxValue, TimeSpan.FromSeconds(Seconds));
    }

    /// <summary>What was wrong once, byte for byte.</summary>
    [Theory]
    [MemberData(nameof(Samples))]
    public async Task A_request_that_once_went_wrong_does_not_again(string file)
    {
        var path = Path.Combine(SourceTree.Root, "tests", "Kiln.Tests", "Fuzz", "Samples", file);
        var text = Encoding.Latin1.GetString(await File.ReadAllBytesAsync(path));
        await using var server = await FuzzServer.StartAsync();
        using var world = new FuzzWorld(server.Url);
        await world.FillAsync();

        var made = new FuzzCase(text, file.EndsWith(".framed.http"));
        var fault = await new FuzzRun(server, 0, TextWriter.Null).SendAsync(made, world.SessionFor(0), world.Job);

        Assert.Null(fault);
        Assert.Empty(server.Errors());
        await world.CheckAsync();
    }

    private async Task RunAsync(IFuzzTarget target, int seed, int count, TimeSpan time)
    {
        await using var lines = new StringWriter(CultureInfo.InvariantCulture);
        var faults = await new FuzzRun(target, seed, lines).SendAsync(count, time);
        output.WriteLine(lines.ToString());
        // The seed is of interest whatever came of it.
        if (Seconds > 0)
        {
            await Console.Out.WriteAsync(lines.ToString());
        }

        Assert.True(
            faults.Count == 0,
            $"seed {seed}: {string.Join("\n", faults)}\nA file goes to tests/Kiln.Tests/Fuzz/Samples once it is mended."
        );
    }

    private static int Seed() => Number("KILN_FUZZ_SEED") ?? RandomNumberGenerator.GetInt32(int.MaxValue);

    private static int? Number(string variable) =>
        int.TryParse(
            Environment.GetEnvironmentVariable(variable),
            NumberStyles.None,
            CultureInfo.InvariantCulture,
            out var number
        )
            ? number
            : null;
}
