using System.Diagnostics;
using System.Runtime.InteropServices;
using Kiln.Inspect;
using Kiln.Inspect.Elf;

namespace Kiln.Tests.Inspect;

/// <summary>What ELF files declare, from real files, from files made by hand, and from what is none.</summary>
public sealed class ElfTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private static string OwnMachine =>
        RuntimeInformation.OSArchitecture switch
        {
            System.Runtime.InteropServices.Architecture.X64 => "x86_64",
            System.Runtime.InteropServices.Architecture.Arm64 => "aarch64",
            var other => other.ToString(),
        };

    [Fact]
    public async Task A_program_of_this_machine_needs_a_loader_and_a_library()
    {
        var ls = await ReadAsync(await File.ReadAllBytesAsync("/bin/ls", Cancel));

        Assert.Equal((OwnMachine, 64, true, false), (ls!.Machine, ls.Bits, ls.Loadable, ls.Unread));
        Assert.Contains("/ld-linux", ls.Interpreter, StringComparison.Ordinal);
        Assert.Contains("libc.so.6", ls.Needed!);
        Assert.True(Version.Parse(ls.GlibcNeeded!) >= new Version(2, 17), ls.GlibcNeeded);
        Assert.Equal((null, false), (ls.GlibcProvided, ls.IsStatic));
    }

    [Fact]
    public async Task The_C_library_of_this_machine_has_the_version_that_it_says()
    {
        var path = (await File.ReadAllLinesAsync("/proc/self/maps", Cancel))
            .Select(line => line.Split(' ')[^1])
            .First(file => file.EndsWith("/libc.so.6", StringComparison.Ordinal));
        var libc = await ReadAsync(await File.ReadAllBytesAsync(path, Cancel));

        Assert.Equal("libc.so.6", libc!.Soname);
        using var told = Process.Start(
            new ProcessStartInfo("ldd", "--version") { RedirectStandardOutput = true, UseShellExecute = false }
        )!;
        var line = (await told.StandardOutput.ReadToEndAsync(Cancel)).Split('\n')[0];
        Assert.EndsWith($" {libc.GlibcProvided}", line, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_static_program_needs_nothing()
    {
        const string busybox = "/bin/busybox";
        Assert.SkipUnless(File.Exists(busybox), $"{busybox} is not installed (busybox-static, see eng/packages.sh)");
        var facts = await ReadAsync(await File.ReadAllBytesAsync(busybox, Cancel));

        Assert.Equal((OwnMachine, true, false), (facts!.Machine, facts.IsStatic, facts.Unread));
        Assert.Equal((null, null), (facts.Needed, facts.GlibcNeeded));
    }

    [Theory]
    [InlineData(true, false)]
    [InlineData(true, true)]
    [InlineData(false, false)]
    [InlineData(false, true)]
    public async Task All_classes_and_byte_orders_are_read(bool wide, bool big)
    {
        var facts = await ReadAsync(
            new ElfFiles
            {
                Wide = wide,
                Big = big,
                Machine = 3,
                Isa = 5,
                Interpreter = "/lib/ld.so",
                Soname = "libx.so.1",
                Needed = ["libmpi.so.40", "libc.so.6"],
                VersionsNeeded = ["GLIBC_2.9", "GLIBC_2.34", "GLIBC_PRIVATE", "GLIBC_2.2.5", "GLIBC_ABI_DT_RELR"],
                VersionsProvided = ["LIBX_1", "GLIBC_2.36"],
            }.Bytes()
        );

        Assert.Equal(("i386", wide ? 64 : 32, 3, false), (facts!.Machine, facts.Bits, facts.Level, facts.Unread));
        Assert.Equal(("/lib/ld.so", "libx.so.1"), (facts.Interpreter, facts.Soname));
        Assert.Equal(["libmpi.so.40", "libc.so.6"], facts.Needed!);
        Assert.Equal(("2.34", "2.36"), (facts.GlibcNeeded, facts.GlibcProvided));
    }

    [Theory]
    [InlineData(0, 0)]
    [InlineData(1, 1)]
    [InlineData(3, 2)]
    [InlineData(4, 3)]
    [InlineData(0xd, 4)]
    [InlineData(0xffffffff, 4)]
    public async Task The_level_of_the_psABI_is_that_of_the_note(uint bits, int level) =>
        Assert.Equal(level, (await ReadAsync(new ElfFiles { Isa = bits }.Bytes()))!.Level);

    [Fact]
    public async Task Other_machines_have_no_such_level_and_tell_how_they_call()
    {
        Assert.Equal(0, (await ReadAsync(new ElfFiles { Machine = 183, Isa = 8 }.Bytes()))!.Level);
        var riscv = await ReadAsync(new ElfFiles { Machine = 243, Flags = 5 }.Bytes());
        Assert.Equal(("riscv64", "lp64d,rvc"), (riscv!.Machine, riscv.Abi));
        var arm = await ReadAsync(
            new ElfFiles
            {
                Machine = 40,
                Flags = 0x5000400,
                Wide = false,
            }.Bytes()
        );
        Assert.Equal(("arm", "hard-float"), (arm!.Machine, arm.Abi));
        Assert.Equal("em-9999", (await ReadAsync(new ElfFiles { Machine = 9999 }.Bytes()))!.Machine);
        Assert.False((await ReadAsync(new ElfFiles { Type = 1 }.Bytes()))!.Loadable);
    }

    /// <summary>The file goes by once: what is needed is held where it comes too early, and waited for where it comes late.</summary>
    [Theory]
    [InlineData(0, 0, false, true)]
    [InlineData(20 << 20, 0, false, true)]
    [InlineData(0, 20 << 20, true, true)]
    [InlineData(20 << 20, 1 << 20, true, true)]
    [InlineData(1 << 20, 20 << 20, false, false)]
    public async Task Names_are_found_wherever_a_linker_puts_them(int dynamic, int strings, bool first, bool found)
    {
        var facts = await ReadAsync(
            new ElfFiles
            {
                Soname = "libx.so.1",
                VersionsNeeded = ["GLIBC_2.34"],
                BeforeDynamic = dynamic,
                BeforeStrings = strings,
                DynamicFirst = first,
            }.Bytes()
        );

        Assert.Equal((!found, found ? "libx.so.1" : null), (facts!.Unread, facts.Soname));
        Assert.Equal(found ? "2.34" : null, facts.GlibcNeeded);
    }

    /// <summary>Whatever stands in a file: an answer, soon, and not much memory.</summary>
    [Fact]
    public async Task Nothing_in_a_file_breaks_the_reader()
    {
        var whole = new ElfFiles
        {
            Isa = 5,
            Interpreter = "/lib64/ld-linux-x86-64.so.2",
            Soname = "libx.so.1",
            Needed = ["libmpi.so.40"],
            VersionsNeeded = ["GLIBC_2.34", "GLIBC_2.2.5"],
            VersionsProvided = ["GLIBC_2.36"],
        };
        var random = new Random(20261128);
        var start = Stopwatch.GetTimestamp();
        var reader = new ElfReader();
        foreach (var form in new[] { whole, whole with { Wide = false }, whole with { Big = true } })
        {
            var bytes = form.Bytes();
            for (var length = 0; length < bytes.Length; length++)
            {
                await reader.ReadAsync(new MemoryStream(bytes[..length]), length, Cancel);
            }

            byte[] values = [0, 1, 0x7f, 0x80, 0xff];
            for (var at = 4; at < bytes.Length; at++)
            {
                foreach (var value in values)
                {
                    byte[] broken = [.. bytes];
                    broken[at] = value;
                    await reader.ReadAsync(new MemoryStream(broken), broken.Length, Cancel);
                    broken.AsSpan(at, Math.Min(8, broken.Length - at)).Fill(value);
                    await reader.ReadAsync(new MemoryStream(broken), broken.Length, Cancel);
                }
            }

            for (var round = 0; round < 5000; round++)
            {
                byte[] broken = [.. bytes];
                for (var i = random.Next(1, 12); i > 0; i--)
                {
                    broken[random.Next(4, broken.Length)] = (byte)random.Next(256);
                }

                await reader.ReadAsync(new MemoryStream(broken), broken.Length, Cancel);
            }
        }

        Assert.True(Stopwatch.GetElapsedTime(start) < TimeSpan.FromMinutes(1), $"{Stopwatch.GetElapsedTime(start)}");
    }

    /// <summary>Lists that lead back to themselves, a table of names without an end, a name without one.</summary>
    [Fact]
    public async Task What_goes_round_ends()
    {
        var bytes = new ElfFiles { Soname = "libx.so.1", VersionsNeeded = ["GLIBC_2.34", "GLIBC_2.35"] }.Bytes();
        var at = bytes.AsSpan().IndexOf("GLIBC_2.35\0"u8) + "GLIBC_2.35\0".Length;
        // vn_next to itself, with an aux that goes on for ever in steps of one byte.
        bytes[at + 12] = 1;
        bytes[at + 16 + 12] = 1;

        var facts = await ReadAsync(bytes).AsTask().WaitAsync(TimeSpan.FromSeconds(10), Cancel);

        Assert.Equal("libx.so.1", facts!.Soname);
    }

    [Fact]
    public async Task Names_that_no_file_has_are_no_names()
    {
        var facts = await ReadAsync(
            new ElfFiles { Soname = "lib\u001b[31m.so", Needed = ["a b", new string('x', 300), "good.so"] }.Bytes()
        );

        Assert.Null(facts!.Soname);
        Assert.Equal(["good.so"], facts.Needed!);
    }

    [Fact]
    public async Task What_is_no_ELF_file_is_none()
    {
        Assert.Null(await ReadAsync([]));
        Assert.Null(await ReadAsync("#!/bin/sh\n"u8.ToArray()));
        Assert.Null(await ReadAsync([0x7f, .. "ELF"u8]));
        Assert.Null(await ReadAsync([0x7f, .. "ELF"u8, .. new byte[100]]));
        Assert.True((await ReadAsync([0x7f, .. "ELF"u8, 2, 1, .. new byte[10], 3, 0, 62, 0, .. new byte[60]]))!.Unread);
    }

    [Fact]
    public async Task Facts_of_a_layer_have_those_of_its_programs_and_survive_packing()
    {
        var layer = new Tars()
            .File("readme", "no program")
            .Program("usr/bin/app", ElfFiles.Mpi)
            .Program("usr/bin/large", new ElfFiles { Soname = "l.so", BeforeDynamic = 9 << 20 }.Bytes())
            .File("after", "x");
        var (facts, _, fault) = await LayerFacts.ReadAsync(new MemoryStream(layer.Gzip()), Cancel);

        Assert.Null(fault);
        var again = LayerFacts.Unpack(facts!.Pack())!;
        Assert.Equal(["readme", "usr/bin/app", "usr/bin/large", "after"], again.Entries.Select(e => e.Path));
        Assert.Equal(["libmpi.so.40", "libc.so.6"], again.Entries[1].Elf!.Needed!);
        Assert.Equal("l.so", again.Entries[2].Elf!.Soname);
        Assert.Null(again.Entries[3].Elf);
    }

    /// <summary>What was kept before programs were looked at says nothing of them.</summary>
    [Fact]
    public void Facts_of_an_earlier_program_are_none()
    {
        using var packed = new MemoryStream();
        using (var gzip = new System.IO.Compression.GZipStream(packed, System.IO.Compression.CompressionMode.Compress))
        {
            gzip.Write("""{"TarBytes":1024,"Entries":[{"p":"a","m":420,"s":1}]}"""u8);
        }

        Assert.Null(LayerFacts.Unpack(packed.ToArray()));
    }

    private static ValueTask<ElfFacts?> ReadAsync(byte[] bytes) =>
        new ElfReader().ReadAsync(new MemoryStream(bytes), bytes.Length, Cancel);
}
