using System.Buffers.Binary;
using System.Globalization;
using System.Text.RegularExpressions;
using Kiln.Oci;

namespace Kiln.Node.Sandbox;

/// <summary>
/// A program that runs those of another family of processors (qemu-user, linked statically). The kernel starts it for them
/// where it is registered: in a jail's own user namespace, which Linux 6.7 and later allow, or on the whole machine.
/// </summary>
/// <param name="Platform">What it runs.</param>
/// <param name="Path">Where it is; below <c>/usr</c>, which jails see.</param>
/// <param name="Name">With its version, as in <c>qemu-aarch64 7.2.22</c>.</param>
internal sealed partial record Emulator(Platform Platform, string Path, string Name)
{
    private const string Rules = "/proc/sys/fs/binfmt_misc";

    // Go's name, qemu's, and the number of the machine in ELF (e_machine).
    private static readonly IReadOnlyList<(string Architecture, string Qemu, ushort Machine)> Known =
    [
        ("amd64", "x86_64", 62),
        ("arm64", "aarch64", 183),
    ];

    /// <summary>
    /// What binfmt_misc is told (kernel.org, admin-guide/binfmt-misc): all executable files of ELF for that machine. F opens the
    /// program now, since an image's root does not have it; P hands on the name by which a program was called.
    /// </summary>
    public string Rule
    {
        get
        {
            var machine = Known.First(k => k.Architecture == Platform.Architecture);
            var number = string.Create(
                CultureInfo.InvariantCulture,
                $@"\x{machine.Machine & 0xff:x2}\x{machine.Machine >> 8:x2}"
            );
            return $":qemu-{machine.Qemu}:M::"
                + @"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00"
                + number
                + @":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:"
                + $"{Path}:PF";
        }
    }

    /// <summary>How they are called, for other families than that of a machine.</summary>
    /// <param name="host">Go's name of its family.</param>
    public static IEnumerable<string> Programs(string host) =>
        Known.Where(k => k.Architecture != host).Select(k => ProgramOf(k.Qemu));

    private static string ProgramOf(string qemu) => $"qemu-{qemu}-static";

    /// <summary>Those that are installed, for other families than <paramref name="host"/>.</summary>
    public static async Task<IReadOnlyList<Emulator>> FindAsync(Platform host, CancellationToken cancel)
    {
        var found = new List<Emulator>();
        foreach (var (architecture, qemu, _) in Known.Where(k => k.Architecture != host.Architecture))
        {
            if (
                Sandbox.Programs.Find(ProgramOf(qemu)) is not { } path
                || !path.StartsWith("/usr/", StringComparison.Ordinal)
            )
            {
                continue;
            }

            var (_, said) = await Sandbox.Programs.RunAsync(path, ["--version"], cancel);
            var version = VersionText().Match(said);
            found.Add(
                new Emulator(
                    new Platform("linux", architecture),
                    path,
                    version.Success ? $"qemu-{qemu} {version.Value}" : $"qemu-{qemu}"
                )
            );
        }

        return found;
    }

    /// <summary>Whether the whole machine has it, so that jails need not register it: what kernels before 6.7 need.</summary>
    public bool IsOnMachine
    {
        get
        {
            try
            {
                var qemu = Known.First(k => k.Architecture == Platform.Architecture).Qemu;
                var lines = File.ReadAllLines($"{Rules}/qemu-{qemu}");
                return lines.Contains("enabled", StringComparer.Ordinal)
                    && lines.Any(l => l.StartsWith("flags:", StringComparison.Ordinal) && l.Contains('F'));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                return false;
            }
        }
    }

    /// <summary>The smallest program of that family: it ends with 0, and so tells whether it can be run here.</summary>
    public byte[] Trial()
    {
        const ulong start = 0x400000;
        const int headers = 64 + 56;
        // exit(0): system call 93 of arm64, 60 of x86-64.
        byte[] code =
            Platform.Architecture == "arm64"
                ? [0xa8, 0x0b, 0x80, 0xd2, 0x00, 0x00, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4]
                : [0x31, 0xff, 0xb8, 0x3c, 0x00, 0x00, 0x00, 0x0f, 0x05];
        var file = new byte[headers + code.Length];
        byte[] magic = [0x7f, (byte)'E', (byte)'L', (byte)'F', 2, 1, 1];
        magic.CopyTo(file, 0);
        void Put(int at, int size, ulong value)
        {
            Span<byte> bytes = stackalloc byte[8];
            BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
            bytes[..size].CopyTo(file.AsSpan(at));
        }

        Put(16, 2, 2); // an executable file
        Put(18, 2, Known.First(k => k.Architecture == Platform.Architecture).Machine);
        Put(20, 4, 1); // version
        Put(24, 8, start + headers);
        Put(32, 8, 64); // where the program header is
        Put(52, 2, 64);
        Put(54, 2, 56);
        Put(56, 2, 1);
        Put(64, 4, 1); // to be loaded
        Put(68, 4, 5); // read and execute
        Put(80, 8, start);
        Put(88, 8, start);
        Put(96, 8, (ulong)file.Length);
        Put(104, 8, (ulong)file.Length);
        Put(112, 8, 0x10000);
        code.CopyTo(file, headers);
        return file;
    }

    [GeneratedRegex(@"\d+\.\d+(\.\d+)?", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex VersionText();
}
