using Kiln.BuildSpec.Products;
using Kiln.Client.Inspection;
using Kiln.Inspect;
using Kiln.Oci;

namespace Kiln.Tests.Inspect;

/// <summary>Hints of images that are made of hand-made layers: what their programs declare, taken together.</summary>
public sealed class MeasuredImageTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task The_highest_level_counts_and_files_say_why_but_not_those_that_the_loader_may_leave()
    {
        var hints = await JudgeAsync(
            new Tars()
                .Program("usr/bin/plain", new ElfFiles().Bytes())
                .Program("usr/bin/v2", new ElfFiles { Isa = 3 }.Bytes())
                .Program("usr/lib/glibc-hwcaps/x86-64-v4/libx.so.1", new ElfFiles { Isa = 9 }.Bytes())
        );

        Assert.Equal("x86_64_v2", hints.Elf!.Level);
        Assert.Equal(["usr/bin/v2"], hints.Elf.LevelNeededBy!.Paths);
        Assert.Equal(["x86-64-v4"], hints.Elf.Variants!);
        Assert.Equal("x86_64_v2", hints.Annotations["io.archspec.cpu.target"]);
    }

    [Fact]
    public async Task What_an_image_was_built_for_counts_too_whatever_its_variant_is_called()
    {
        var layer = new Tars().Program("a", new ElfFiles().Bytes()).Gzip();
        var other = new Tars().Program("a", new ElfFiles { Machine = 183 }.Bytes()).Gzip();

        Assert.Equal("x86_64", await TargetAsync(layer, "linux/amd64"));
        Assert.Equal("x86_64_v3", await TargetAsync(layer, "linux/amd64/v3"));
        Assert.Equal("x86_64", await TargetAsync(layer, "linux/amd64/other"));
        Assert.Equal("x86_64_v4", await TargetAsync(layer, "linux/amd64/v99999"));
        Assert.Equal("aarch64", await TargetAsync(other, "linux/arm64/v8"));
        var gpu = new Tars()
            .Program("a.co", new ElfFiles { Machine = 224 }.Bytes())
            .Program("b.co", new ElfFiles { Machine = 224 }.Bytes())
            .Program("app", new ElfFiles().Bytes());
        Assert.Equal("x86_64_v3", await TargetAsync(gpu.Gzip(), "linux/amd64/v3"));
        var narrow = new Tars().Program("a", new ElfFiles { Machine = 3 }.Bytes()).Gzip();
        Assert.Null(await TargetAsync(narrow, "linux/amd64"));
        Assert.Equal("i386", await TargetAsync(narrow, "linux/386"));
        Assert.Null((await JudgeAsync(new Tars().File("a"))).Elf);
    }

    [Fact]
    public async Task Libraries_are_named_with_what_they_are_for_where_they_are_and_who_needs_them()
    {
        var hints = await JudgeAsync(
            new Tars()
                .Program("usr/bin/app", ElfFiles.Mpi)
                .Program("usr/bin/solver", new ElfFiles { Needed = ["libcudart.so.12", "libmpi.so.40"] }.Bytes())
                .Program(
                    "usr/lib/libmpi.so.40.30.4",
                    new ElfFiles { Soname = "libmpi.so.40", Needed = ["libfabric.so.1"] }.Bytes()
                )
                .Program("usr/lib/libfabric.so.1.1", new ElfFiles { Soname = "libfabric.so.1" }.Bytes())
        );

        var mpi = Assert.Single(hints.Mpi!);
        Assert.Equal(("libmpi.so.40", "openmpi", "openmpi"), (mpi.Name, mpi.Family, mpi.Implementation));
        Assert.Equal(["usr/lib/libmpi.so.40.30.4"], mpi.Provided!.Paths);
        Assert.Equal(["usr/bin/app", "usr/bin/solver"], mpi.NeededBy!.Paths);
        var gpu = Assert.Single(hints.Gpu!);
        Assert.Equal(("cuda", true), (gpu.Family, gpu.Provided is null));
        Assert.Equal("libfabric", Assert.Single(hints.Communication!).Family);
        Assert.Equal(
            ("openmpi", "openmpi", "cuda", "libfabric"),
            (
                hints.Annotations["org.supercontainers.mpi"],
                hints.Annotations["org.supercontainers.mpi.implementation"],
                hints.Annotations["org.supercontainers.gpu"],
                hints.Annotations["org.supercontainers.communication.framework"]
            )
        );
    }

    [Theory]
    [InlineData("libmpi.so.12", "", "mpich", null)]
    [InlineData("libmpi.so.12", "libopen-pal.so.13", "openmpi", "openmpi")]
    [InlineData("libmpich.so.12", "", "mpich", "mpich")]
    [InlineData("libmpi_cray.so.12", "", "mpich", "cray")]
    [InlineData("libmpi_abi.so.0", "", "mpi-abi", null)]
    [InlineData("libmpi.so.20", "", "openmpi", "openmpi")]
    public async Task Which_MPI_it_is_tells_the_name_or_nothing(
        string soname,
        string needs,
        string family,
        string? which
    )
    {
        var library = new ElfFiles { Soname = soname, Needed = needs.Length == 0 ? [] : [needs] };
        var hints = await JudgeAsync(new Tars().Program("usr/lib/l.so", library.Bytes()));

        Assert.Equal(family, hints.Annotations["org.supercontainers.mpi"]);
        Assert.Equal(which, hints.Annotations.GetValueOrDefault("org.supercontainers.mpi.implementation"));
    }

    /// <summary>Debian's MPI brings hwloc along, and that a loader of OpenCL; nobody uses a GPU by that.</summary>
    [Fact]
    public async Task A_loader_that_nothing_but_hwloc_needs_says_nothing_of_a_GPU()
    {
        var loader = new ElfFiles { Soname = "libOpenCL.so.1" }.Bytes();
        var needs = new ElfFiles { Needed = ["libOpenCL.so.1"] }.Bytes();
        var unused = await JudgeAsync(
            new Tars().Program("usr/lib/libOpenCL.so.1", loader).Program("usr/lib/hwloc/hwloc_opencl.so", needs)
        );
        var used = await JudgeAsync(new Tars().Program("usr/lib/libOpenCL.so.1", loader).Program("usr/bin/app", needs));

        Assert.False(unused.Annotations.ContainsKey("org.supercontainers.gpu"));
        Assert.Equal("opencl", Assert.Single(unused.Gpu!).Family);
        Assert.Equal("opencl", used.Annotations["org.supercontainers.gpu"]);
    }

    [Fact]
    public async Task The_version_of_glibc_is_that_of_its_library_and_what_is_needed_that_of_others()
    {
        var libc = new ElfFiles
        {
            Soname = "libc.so.6",
            VersionsNeeded = ["GLIBC_2.35"],
            VersionsProvided = ["GLIBC_2.2.5", "GLIBC_2.36"],
        };
        var hints = await JudgeAsync(
            new Tars()
                .Program("usr/lib/libc.so.6", libc.Bytes())
                .Program("usr/bin/old", new ElfFiles { VersionsNeeded = ["GLIBC_2.9"] }.Bytes())
                .Program("usr/bin/new", new ElfFiles { VersionsNeeded = ["GLIBC_2.10"] }.Bytes())
                .Program("sbin/apk", new ElfFiles { Interpreter = "/lib/ld-musl-x86_64.so.1" }.Bytes())
        );

        Assert.Equal(("2.36", "2.10"), (hints.Elf!.Glibc, hints.Elf.GlibcNeeded));
        Assert.Equal(["usr/bin/new"], hints.Elf.GlibcNeededBy!.Paths);
        Assert.Equal(["glibc", "musl"], hints.Elf.Libc!);
        Assert.Equal("2.36", hints.Annotations["org.supercontainers.glibc"]);
    }

    [Fact]
    public async Task A_later_layer_takes_what_its_files_replace_with_all_that_was_known_of_it()
    {
        var hints = await JudgeAsync(
            "linux/amd64",
            new Tars()
                .Program("usr/bin/app", new ElfFiles { Isa = 9, Needed = ["libcudart.so.12"] }.Bytes())
                .Program("opt/gone/b", new ElfFiles { Needed = ["libucp.so.0"] }.Bytes())
                .Program("usr/bin/mpi", ElfFiles.Mpi),
            new Tars()
                .Program("usr/bin/app", new ElfFiles().Bytes())
                .File("opt/.wh.gone")
                .File("usr/bin/mpi", "#!/bin/sh\n", mode: 0x1ed)
        );

        Assert.Equal((1, null), (hints.Elf!.Files, hints.Elf.Level));
        Assert.Equal((null, null, null), (hints.Mpi, hints.Gpu, hints.Communication));
        Assert.Equal(2, hints.Layers.Count);
    }

    [Fact]
    public async Task Files_that_matter_to_others_are_named_and_lists_are_cut()
    {
        var layer = new Tars()
            .File("usr/bin/su", "x", mode: 0x9ed)
            .File("etc/shadow", "x", mode: 0x1a0, group: 42)
            .File("srv/drop", "x", mode: 0x1b6)
            .Directory("tmp", mode: 0x3ff)
            .Directory("open", mode: 0x1ff)
            .Device("dev/null")
            .WithCapability("usr/bin/ping");
        for (var i = 0; i < 60; i++)
        {
            layer.File($"private/{i:00}", "x", mode: 0x180);
        }

        var files = (await JudgeAsync(layer)).Files;

        Assert.Equal(new HintedPath("usr/bin/su", "4755", 0, 0), Assert.Single(files.SetId!.Entries));
        Assert.Equal(["usr/bin/ping"], files.Capabilities!.Entries.Select(e => e.Path));
        Assert.Equal(["dev/null"], files.Devices!.Entries.Select(e => e.Path));
        Assert.Equal(["open", "srv/drop"], files.Writable!.Entries.Select(e => e.Path));
        Assert.Equal((61, HintsDocument.MaxPaths), (files.Unreadable!.Count, files.Unreadable.Entries.Count));
        Assert.Equal("etc/shadow", files.Unreadable.Entries[0].Path);
    }

    [Fact]
    public async Task The_largest_directories_come_first_and_those_that_only_hold_another_not_at_all()
    {
        var hints = await JudgeAsync(
            new Tars()
                .File("usr/lib/big/a", new string('x', 900))
                .File("usr/lib/b", new string('x', 500))
                .File("etc/c", new string('x', 100))
        );

        Assert.Equal([new("usr/lib", 1400, 2), new("usr/lib/big", 900, 1), new("etc", 100, 1)], hints.Directories);
    }

    [Fact]
    public async Task Directories_are_left_out_where_their_names_alone_would_fill_the_memory()
    {
        var deep = string.Join('/', Enumerable.Repeat("dddddddddddd", 200));
        var tar = new Tars();
        for (var i = 0; i < 300; i++)
        {
            tar = tar.File($"{i}/{deep}/f", "x");
        }

        var before = GC.GetAllocatedBytesForCurrentThread();
        var hints = await JudgeAsync(tar);
        Assert.Empty(hints.Directories);
        Assert.Equal(300, hints.Files.Count);
        var used = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.True(used < 300L << 20, $"it took {used} bytes");
    }

    private static async Task<string?> TargetAsync(byte[] layer, string platform) =>
        (await JudgeAsync(platform, layer)).Annotations.GetValueOrDefault("io.archspec.cpu.target");

    private static Task<HintsDocument> JudgeAsync(Tars layer) => JudgeAsync("linux/amd64", layer.Gzip());

    private static Task<HintsDocument> JudgeAsync(string platform, Tars lower, Tars upper) =>
        JudgeAsync(platform, lower.Gzip(), upper.Gzip());

    private static async Task<HintsDocument> JudgeAsync(string platform, params IReadOnlyList<byte[]> blobs)
    {
        var layers = new List<(Descriptor, LayerFacts)>();
        foreach (var blob in blobs)
        {
            var (facts, _, fault) = await LayerFacts.ReadAsync(new MemoryStream(blob), Cancel);
            Assert.Null(fault);
            layers.Add((Of(blob, MediaTypes.OciLayerGzip), facts!));
        }

        var (inJob, document) = new MeasuredImage
        {
            Subject = Of("{}"u8.ToArray(), MediaTypes.OciManifest),
            Platform = Platform.Parse(platform),
            Layers = layers,
        }.Judge();
        Assert.Equal(ProductIndex.Annotations(inJob), document.Annotations);
        Assert.Empty(Spec.Schemas.Faults("hints", System.Text.Encoding.UTF8.GetString(document.ToBytes())));
        return document;
    }

    private static Descriptor Of(byte[] bytes, string type) =>
        new()
        {
            MediaType = type,
            Digest = Digest.Of(bytes),
            Size = bytes.Length,
        };
}
