using System.Diagnostics;
using Kiln.Node.Sandbox;
using Instruction = Kiln.Node.Sandbox.RootEmulation.Instruction;

namespace Kiln.Tests.Node;

/// <summary>The filter that lets a user without subordinate ids be root, by itself and around a real program.</summary>
public sealed class RootEmulationTests : IDisposable
{
    private const uint Amd64 = 0xc000003e;
    private const uint I386 = 0x40000003;
    private const uint Arm64 = 0xc00000b7;
    private const uint Arm = 0x40000028;
    private const uint X32 = 0x40000000;
    private const ulong Fifo = 0x1000;
    private const ulong Character = 0x2000;
    private const ulong Block = 0x6000;
    private const ulong File = 0x8000;

    private readonly string _root = Directory.CreateTempSubdirectory("kiln-root-").FullName;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    // By Linux's tables of each architecture, asm/unistd.h: chown, lchown, fchown, fchownat, setuid, setgid, setgroups,
    // setresuid, setresgid, setreuid, setregid.
    [Theory]
    [InlineData(Amd64, new uint[] { 92, 94, 93, 260, 105, 106, 116, 117, 119, 113, 114, 122, 123 })]
    [InlineData(Amd64, new uint[] { X32 | 92, X32 | 260, X32 | 105, X32 | 117 })]
    [InlineData(I386, new uint[] { 182, 212, 16, 198, 95, 207, 298, 23, 213, 46, 214, 81, 206, 164, 208, 170, 210 })]
    [InlineData(Arm64, new uint[] { 54, 55, 146, 144, 159, 147, 149, 145, 143, 151, 152 })]
    [InlineData(Arm, new uint[] { 182, 212, 16, 198, 95, 207, 325, 23, 213, 46, 214, 81, 206, 164, 208, 170, 210 })]
    public void Changes_of_owner_and_identity_are_pretended(uint architecture, uint[] calls) =>
        Assert.All(calls, call => Assert.Equal(RootEmulation.Pretend, Answer(architecture, call)));

    // read, openat, chmod and its like, getuid, clone, execve, unshare, capset, prctl.
    [Theory]
    [InlineData(Amd64, new uint[] { 0, 257, 90, 91, 268, 102, 56, 59, 272, 126, 157 })]
    [InlineData(I386, new uint[] { 3, 295, 15, 94, 306, 24, 120, 11, 310, 185, 172 })]
    [InlineData(Arm64, new uint[] { 63, 56, 52, 53, 174, 220, 221, 97, 91, 167 })]
    [InlineData(Arm, new uint[] { 3, 322, 15, 94, 333, 24, 120, 11, 337, 185, 172 })]
    [InlineData(0x80000016, new uint[] { 92, 182, 212 })]
    public void All_else_is_done(uint architecture, uint[] calls) =>
        Assert.All(calls, call => Assert.Equal(RootEmulation.Allow, Answer(architecture, call)));

    [Theory]
    [InlineData(Amd64, 133, 1)]
    [InlineData(Amd64, 259, 2)]
    [InlineData(I386, 14, 1)]
    [InlineData(I386, 297, 2)]
    [InlineData(Arm64, 33, 2)]
    [InlineData(Arm, 14, 1)]
    [InlineData(Arm, 324, 2)]
    public void Devices_are_pretended_and_other_nodes_made(uint architecture, uint call, int mode)
    {
        foreach (
            var (kind, answer) in new[]
            {
                (Character, RootEmulation.Pretend),
                (Block, RootEmulation.Pretend),
                (Fifo, RootEmulation.Allow),
                (File, RootEmulation.Allow),
            }
        )
        {
            var arguments = new ulong[6];
            arguments[mode] = kind | 0x1b6;
            Assert.Equal(answer, Answer(architecture, call, arguments));
        }
    }

    [Fact]
    public void Program_meets_it_and_this_one_does_not()
    {
        var before = Filtered();
        using var process = new Process
        {
            StartInfo = Programs.Start(
                "sh",
                [
                    "-c",
                    """
                    set -e; cd "$1"
                    touch file; chown 4321:1234 file; chown -h 4321 file; mknod device c 1 3; mkfifo pipe
                    echo "$(stat -c %u:%g file) $(id -u):$(id -g) $([ -e device ] || echo none) $(stat -c %F pipe)"
                    """,
                    "sh",
                    _root,
                ]
            ),
        };
        RootEmulation.Start(process);
        var (output, errors) = (process.StandardOutput.ReadToEnd(), process.StandardError.ReadToEnd());
        process.WaitForExit();

        var (uid, gid) = (Environment.IsPrivilegedProcess ? 0 : UserNamespace.Detect().Uid, UserNamespace.Detect().Gid);
        Assert.Equal(("", $"{uid}:{gid} {uid}:{gid} none fifo\n"), (errors, output));
        Assert.Equal(before, Filtered());
    }

    // The threads of this process that have a filter.
    private static int Filtered() =>
        Directory
            .EnumerateDirectories("/proc/self/task")
            .Count(task =>
                System
                    .IO.File.ReadAllText(Path.Combine(task, "status"))
                    .Contains("\nSeccomp:\t2", StringComparison.Ordinal)
            );

    // What the kernel's interpreter would say, of the few instructions that there are.
    private static uint Answer(uint architecture, uint call, params ulong[] arguments)
    {
        var program = RootEmulation.Filter();
        var (accumulator, steps) = (0u, 0);
        for (var i = 0; steps < 1000; i++, steps++)
        {
            var (code, yes, no, operand) = program[i];
            switch (code)
            {
                case RootEmulation.LoadWord:
                    accumulator = Word(operand);
                    break;
                case RootEmulation.And:
                    accumulator &= operand;
                    break;
                case RootEmulation.JumpIfEqual:
                    i += accumulator == operand ? yes : no;
                    break;
                case RootEmulation.Return:
                    return operand;
                default:
                    Assert.Fail($"{new Instruction(code, yes, no, operand)}");
                    break;
            }
        }

        throw new InvalidOperationException("the filter has no end");

        // struct seccomp_data: int nr; __u32 arch; __u64 instruction_pointer; __u64 args[6].
        uint Word(uint at) =>
            at switch
            {
                0 => call,
                4 => architecture,
                >= 16 => (uint)(arguments[(at - 16) / 8] >> (int)(at % 8 * 8)),
                _ => 0,
            };
    }
}
