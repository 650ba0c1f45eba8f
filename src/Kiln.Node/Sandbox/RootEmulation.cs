using System.ComponentModel;
using System.Diagnostics;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;

namespace Kiln.Node.Sandbox;

/// <summary>
/// Root for a user that has no other ids than its own: a seccomp(2) filter under which changes of owner and of identity and
/// the making of device nodes answer "done" and do nothing. Whoever asks afterwards finds that nothing has changed.
/// </summary>
/// <remarks>
/// <c>capset</c> is not among them: programs read back what they set. A 32-bit program meets the same answers as a 64-bit one.
/// </remarks>
internal static partial class RootEmulation
{
    // bpf(2), classic: linux/bpf_common.h; seccomp(2) for the data that a program sees and the answers that it gives.
    internal const ushort LoadWord = 0x20;
    internal const ushort JumpIfEqual = 0x15;
    internal const ushort And = 0x54;
    internal const ushort Return = 0x06;
    internal const uint Allow = 0x7fff0000;

    // SECCOMP_RET_ERRNO with the error 0.
    internal const uint Pretend = 0x00050000;
    private const uint CallAt = 0;
    private const uint ArchitectureAt = 4;
    private const uint ArgumentsAt = 16;

    // An argument has eight bytes, the lower ones first on all these machines.
    private const uint ArgumentLength = 8;
    private const uint FileType = 0xf000;
    private const uint CharacterDevice = 0x2000;
    private const uint BlockDevice = 0x6000;

    // The x32 calls of x86-64 have its numbers and this bit.
    private const uint WithoutX32 = ~0x40000000u;
    private const int SetNoNewPrivileges = 38;
    private const int SetSeccomp = 22;
    private const int FilterMode = 2;

    // AUDIT_ARCH_* of linux/audit.h. The numbers are those of each architecture's asm/unistd.h, in this order as far as it
    // has them: chown, fchown, lchown, fchownat, setuid, setgid, setreuid, setregid, setgroups, setresuid, setresgid,
    // setfsuid, setfsgid; where there are calls with 16 and with 32 bits for an id, both.
    private static readonly CallTable[] Tables =
    [
        new(
            0xc000003e, // x86-64
            [92, 93, 94, 260, 105, 106, 113, 114, 116, 117, 119, 122, 123],
            MakeNode: 133,
            MakeNodeAt: 259
        ),
        new(
            0x40000003, // i386
            [
                .. new uint[] { 182, 95, 16, 298, 23, 46, 70, 71, 81, 164, 170, 138, 139 },
                .. new uint[] { 212, 207, 198, 213, 214, 203, 204, 206, 208, 210, 215, 216 },
            ],
            MakeNode: 14,
            MakeNodeAt: 297
        ),
        new(
            0xc00000b7, // arm64
            [55, 54, 146, 144, 145, 143, 159, 147, 149, 151, 152],
            MakeNode: null,
            MakeNodeAt: 33
        ),
        new(
            0x40000028, // arm
            [
                .. new uint[] { 182, 95, 16, 325, 23, 46, 70, 71, 81, 164, 170, 138, 139 },
                .. new uint[] { 212, 207, 198, 213, 214, 203, 204, 206, 208, 210, 215, 216 },
            ],
            MakeNode: 14,
            MakeNodeAt: 324
        ),
    ];

    /// <summary>Starts a process that has the filter, and so has all that it starts. Nothing else of this program has it.</summary>
    /// <exception cref="SandboxException">The kernel takes no filters from ordinary users.</exception>
    /// <exception cref="Win32Exception">The program could not be started.</exception>
    // A filter is a thread's, and a child has that of the thread that made it: so a thread is made for it, which ends with
    // the start. It is waited for rather than awaited: what a thread with the filter makes runnable could run in threads
    // that it makes, and those would have the filter too.
    public static void Start(Process process)
    {
        ExceptionDispatchInfo? fault = null;
        var thread = new Thread(() =>
        {
            try
            {
                Enter();
                process.Start();
            }
            catch (Exception e)
            {
                fault = ExceptionDispatchInfo.Capture(e);
            }
        })
        {
            IsBackground = true,
        };
        thread.Start();
        thread.Join();
        fault?.Throw();
    }

    /// <summary>The filter: what it says of a call of any architecture that it does not know is <see cref="Allow"/>.</summary>
    internal static IReadOnlyList<Instruction> Filter()
    {
        var program = new List<Instruction>();
        foreach (var table in Tables)
        {
            var calls = Calls(table);
            program.Add(new Instruction(LoadWord, 0, 0, ArchitectureAt));
            program.Add(new Instruction(JumpIfEqual, 0, checked((byte)calls.Count), table.Architecture));
            program.AddRange(calls);
        }

        program.Add(new Instruction(Return, 0, 0, Allow));
        return program;
    }

    private static List<Instruction> Calls(CallTable table)
    {
        List<Instruction> program = [new Instruction(LoadWord, 0, 0, CallAt), new Instruction(And, 0, 0, WithoutX32)];
        foreach (var call in table.Pretended)
        {
            program.Add(new Instruction(JumpIfEqual, 0, 1, call));
            program.Add(new Instruction(Return, 0, 0, Pretend));
        }

        // mknod(path, mode, device), mknodat(directory, path, mode, device).
        program.AddRange(table.MakeNode is { } make ? Devices(make, mode: 1) : []);
        program.AddRange(Devices(table.MakeNodeAt, mode: 2));
        program.Add(new Instruction(Return, 0, 0, Allow));
        return program;
    }

    // FIFOs, sockets and regular files are made: that needs no privilege.
    private static Instruction[] Devices(uint call, uint mode) =>
        [
            new Instruction(JumpIfEqual, 0, 6, call),
            new Instruction(LoadWord, 0, 0, ArgumentsAt + (mode * ArgumentLength)),
            new Instruction(And, 0, 0, FileType),
            new Instruction(JumpIfEqual, 1, 0, CharacterDevice),
            new Instruction(JumpIfEqual, 0, 1, BlockDevice),
            new Instruction(Return, 0, 0, Pretend),
            new Instruction(Return, 0, 0, Allow),
        ];

    private static unsafe void Enter()
    {
        // Without privileges a filter is only taken from a thread that cannot gain any.
        if (Control(SetNoNewPrivileges, 1, 0, 0, 0) != 0)
        {
            throw Refused();
        }

        Instruction[] instructions = [.. Filter()];
        fixed (Instruction* first = instructions)
        {
            var program = new FilterProgram((ushort)instructions.Length, (nint)first);
            if (Control(SetSeccomp, FilterMode, (nint)(&program), 0, 0) != 0)
            {
                throw Refused();
            }
        }
    }

    private static SandboxException Refused() =>
        new(
            "the kernel takes no seccomp filter from an ordinary user, which builds without subordinate ids need: "
                + Marshal.GetLastPInvokeErrorMessage()
        );

    [LibraryImport("libc", EntryPoint = "prctl", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Control(int option, nint first, nint second, nint third, nint fourth);

    /// <summary>struct sock_filter.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal readonly record struct Instruction(ushort Code, byte IfTrue, byte IfFalse, uint Operand);

    /// <summary>struct sock_fprog.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private readonly record struct FilterProgram(ushort Length, nint First);

    /// <summary>What is pretended on one architecture.</summary>
    private sealed record CallTable(uint Architecture, uint[] Pretended, uint? MakeNode, uint MakeNodeAt);
}
