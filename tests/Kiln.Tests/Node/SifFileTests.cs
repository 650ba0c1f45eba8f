using System.Buffers.Binary;
using System.Text;
using Kiln.Inspect.Rewriting;
using Kiln.Node.Deriving;
using Kiln.Oci;

namespace Kiln.Tests.Node;

/// <summary>The header of a SIF, and what Apptainer looks for in its file system.</summary>
public sealed class SifFileTests
{
    private static readonly Digest Image = Digest.Of("an image"u8);

    [Theory]
    [InlineData("amd64", "02")]
    [InlineData("arm64", "04")]
    [InlineData("ppc64le", "06")]
    [InlineData("riscv64", "12")]
    public void Header_says_what_the_file_is(string architecture, string code)
    {
        var head = SifFile.Head(SifFile.ArchitectureCode(architecture)!, 5000, Image, 1_700_000_000);

        Assert.Equal(SifFile.FileSystemAt, head.Length);
        Assert.Equal("#!/usr/bin/env run-singularity\n", Text(head, 0, 32));
        Assert.Equal(("SIF_MAGIC", "01", code), (Text(head, 32, 10), Text(head, 42, 3), Text(head, 45, 3)));
        Assert.Equal([1_700_000_000, 1_700_000_000, 47, 48, 4096, 48 * 585, 32176], Longs(head, 64, 7));
        // All data from its beginning on, what fills the page included.
        Assert.Equal(32768 + 5000 - 32176, Longs(head, 120, 1)[0]);
        var table = head[4096..];
        Assert.Equal(0x4004, BinaryPrimitives.ReadInt32LittleEndian(table));
        Assert.Equal(1, table[4]);
        Assert.Equal([32768, 5000], Longs(table, 17, 2));
        Assert.Equal(
            (1, 2, code),
            (
                BinaryPrimitives.ReadInt32LittleEndian(table.AsSpan(201)),
                BinaryPrimitives.ReadInt32LittleEndian(table.AsSpan(205)),
                Text(table, 209, 3)
            )
        );
        Assert.Equal(0, table[585 + 4]);
    }

    [Fact]
    public void Same_image_gives_the_same_header_and_another_one_another()
    {
        var one = SifFile.Head("02", 5000, Image, 7);

        Assert.Equal(one, SifFile.Head("02", 5000, Image, 7));
        Assert.NotEqual(one, SifFile.Head("02", 5000, Digest.Of("another"u8), 7));
        Assert.Null(SifFile.ArchitectureCode("wasm"));
    }

    [Fact]
    public void Scripts_say_what_the_config_says_however_it_is_quoted()
    {
        var config = RunConfig.Read(
            """
            {"architecture":"amd64","created":"2023-11-14T22:13:20Z","config":{
              "Env":["PATH=/opt/bin:/bin","A=it's \"$x\" `y` \\ }","1=no","no"],
              "Entrypoint":["sh","-c","echo \"$0\" 'x'"],"Cmd":["a b"],"Labels":{"l":"v"}}}
            """u8.ToArray()
        );
        var files = SingularityFiles.Of(config).ToDictionary(f => f.Path, f => f, StringComparer.Ordinal);

        Assert.Equal(1_700_000_000, config.Created);
        Assert.Equal(
            "#!/bin/sh\nexport PATH=\"/opt/bin:/bin\"\n_kiln_value=\"it's \\\"\\$x\\\" \\`y\\` \\\\ }\"\nexport A=\"${A:-$_kiln_value}\"\nunset _kiln_value\n",
            files[".singularity.d/env/10-docker2singularity.sh"].Content
        );
        Assert.Equal(
            "#!/bin/sh\n[ $# -gt 0 ] || set -- 'a b'\nexec 'sh' '-c' 'echo \"$0\" '\\''x'\\''' \"$@\"\n",
            files[".singularity.d/runscript"].Content
        );
        Assert.Equal(
            "{\"l\":\"v\",\"org.label-schema.build-arch\":\"amd64\"}\n",
            files[".singularity.d/labels.json"].Content
        );
        Assert.Equal(
            "#!/bin/sh\n[ $# -gt 0 ] || set -- /bin/sh\nexec \"$@\"\n",
            SingularityFiles
                .Of(RunConfig.Read("{}"u8.ToArray()))
                .First(f => f.Path.EndsWith("runscript", StringComparison.Ordinal) && f.Type == RawEntry.File)
                .Content
        );
    }

    private static string Text(byte[] bytes, int at, int length) =>
        Encoding.ASCII.GetString(bytes, at, length).TrimEnd('\0');

    private static long[] Longs(byte[] bytes, int at, int count) =>
        [.. Enumerable.Range(0, count).Select(i => BinaryPrimitives.ReadInt64LittleEndian(bytes.AsSpan(at + (8 * i))))];
}
