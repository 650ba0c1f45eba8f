using System.Formats.Tar;
using System.IO.Compression;
using System.Text;
using Kiln.Inspect;
using Kiln.Inspect.Rewriting;
using Kiln.Oci;

// Pax headers are what this is about, and no digest of them is kept.
#pragma warning disable RS0030
namespace Kiln.Tests.Inspect;

/// <summary>Layers of a single id: of builds that had one, as they are published, and of images that are flattened as a whole.</summary>
public sealed class SingleIdRewriteTests
{
    private const UnixFileMode SetId = UnixFileMode.SetUser | UnixFileMode.SetGroup;
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Everything_is_roots_without_set_id_bits_and_capabilities_and_the_rest_is_as_it_was(bool whole)
    {
        var name = string.Concat(Enumerable.Repeat("directory-with-a-name/", 14)) + "tröst";
        var tar = await TarAsync(
            new PaxTarEntry(TarEntryType.Directory, "shared")
            {
                Mode = SetId | UnixFileMode.StickyBit | UnixFileMode.UserRead,
                Uid = 7,
                Gid = 8,
            },
            new PaxTarEntry(
                TarEntryType.RegularFile,
                "ping",
                new Dictionary<string, string>
                {
                    ["SCHILY.xattr.security.capability"] = "\u0001\u0002",
                    ["SCHILY.xattr.user.kept"] = "yes",
                }
            )
            {
                Mode = SetId | UnixFileMode.UserExecute,
                Uid = 70000000,
                UserName = "somebody",
                DataStream = new MemoryStream(Encoding.ASCII.GetBytes(new string('x', 700))),
                ModificationTime = DateTimeOffset.FromUnixTimeSeconds(1_000_000),
            },
            new GnuTarEntry(TarEntryType.RegularFile, name)
            {
                Gid = 42,
                DataStream = new MemoryStream("long"u8.ToArray()),
            },
            new UstarTarEntry(TarEntryType.HardLink, "again")
            {
                LinkName = "ping",
                Mode = SetId,
                Uid = 5,
            },
            new V7TarEntry(TarEntryType.V7RegularFile, "old") { Mode = SetId, Uid = 3 }
        );

        var (entries, kept) = await WrittenAsync(tar, whole);

        Assert.Equal(["shared", "ping", name, "again", "old"], entries.Select(e => e.Name.TrimEnd('/')));
        Assert.All(entries, e => Assert.Equal((0, 0, default), (e.Uid, e.Gid, e.Mode & SetId)));
        Assert.True(entries[0].Mode.HasFlag(UnixFileMode.StickyBit));
        // What only its owner's power could read is made readable where it is to be anybody's.
        Assert.Equal(UnixFileMode.UserExecute | (whole ? UnixFileMode.UserRead : UnixFileMode.None), entries[1].Mode);
        Assert.Equal(1_000_000, entries[1].ModificationTime.ToUnixTimeSeconds());
        var attributes = ((PaxTarEntry)entries[1]).ExtendedAttributes;
        Assert.Equal("yes", attributes["SCHILY.xattr.user.kept"]);
        Assert.Empty(attributes.Keys.Intersect(["SCHILY.xattr.security.capability", "uid", "uname"]));
        Assert.Equal([0, 700, 4, 0, 0], kept.Select(k => k.Length));
        Assert.Equal("ping", entries[3].LinkName);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Access_lists_and_devices_are_the_builds_own_unless_anybody_is_to_unpack_them(bool whole)
    {
        var tar = await TarAsync(
            new PaxTarEntry(
                TarEntryType.RegularFile,
                "listed",
                new Dictionary<string, string> { ["SCHILY.acl.access"] = "user::rw-,user:7:r--" }
            )
            {
                Mode = UnixFileMode.UserRead,
            },
            new PaxTarEntry(TarEntryType.CharacterDevice, "null")
            {
                Mode = SetId,
                DeviceMajor = 1,
                DeviceMinor = 3,
            }
        );

        var (entries, _) = await WrittenAsync(tar, whole);

        Assert.Equal(
            !whole,
            entries[0] is PaxTarEntry listed && listed.ExtendedAttributes.ContainsKey("SCHILY.acl.access")
        );
        Assert.Equal(
            whole ? (".wh.null", TarEntryType.RegularFile) : ("null", TarEntryType.CharacterDevice),
            (entries[1].Name, entries[1].EntryType)
        );
        Assert.All(entries, e => Assert.Equal(default, e.Mode & SetId));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_layer_that_needs_no_change_has_none(bool whole)
    {
        var tar = await TarAsync(
            new PaxTarEntry(TarEntryType.RegularFile, "file")
            {
                Mode = UnixFileMode.UserRead,
                DataStream = new MemoryStream("x"u8.ToArray()),
            }
        );
        using var first = new MemoryStream();
        await SingleIdRewrite.PackAsync(new MemoryStream(tar), first, zstd: false, whole, Cancel);
        var once = Plain(first.ToArray());
        using var second = new MemoryStream();
        var (_, diffId) = await SingleIdRewrite.PackAsync(
            new MemoryStream(first.ToArray()),
            second,
            zstd: false,
            whole,
            Cancel
        );

        Assert.Equal(once, Plain(second.ToArray()));
        Assert.Equal(Digest.Of(once), diffId);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task What_is_no_tar_is_refused(bool whole)
    {
        var tar = await TarAsync(new PaxTarEntry(TarEntryType.RegularFile, "file"));
        // The mode of the file itself, behind its pax header.
        tar[1024 + 100] ^= 1;
        await Assert.ThrowsAsync<InvalidDataException>(() =>
            SingleIdRewrite.PackAsync(new MemoryStream(tar), Stream.Null, zstd: false, whole, Cancel)
        );
        await Assert.ThrowsAsync<InvalidDataException>(() =>
            SingleIdRewrite.PackAsync(
                new MemoryStream("#!/bin/sh\n"u8.ToArray()),
                Stream.Null,
                zstd: false,
                whole,
                Cancel
            )
        );
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_pax_header_has_a_limit(bool whole)
    {
        var tar = await TarAsync(
            new PaxTarEntry(
                TarEntryType.RegularFile,
                "file",
                new Dictionary<string, string> { ["comment"] = new('x', TarHeaderGuard.MaxMetaBytes) }
            )
        );
        await Assert.ThrowsAsync<OversizeException>(() =>
            SingleIdRewrite.PackAsync(new MemoryStream(tar), Stream.Null, zstd: false, whole, Cancel)
        );
    }

    private static async Task<(List<TarEntry> Entries, List<byte[]> Content)> WrittenAsync(byte[] tar, bool whole)
    {
        using var written = new MemoryStream();
        var (_, diffId) = await SingleIdRewrite.PackAsync(new MemoryStream(tar), written, zstd: false, whole, Cancel);
        var plain = Plain(written.ToArray());
        Assert.Equal(Digest.Of(plain), diffId);
        // Two blocks of zeros end it, as they did.
        Assert.Equal(new byte[1024], plain[^1024..]);
        var (entries, content) = (new List<TarEntry>(), new List<byte[]>());
        await using var reader = new TarReader(new MemoryStream(plain));
        while (await reader.GetNextEntryAsync(copyData: true, Cancel) is { } entry)
        {
            using var data = new MemoryStream();
            await (entry.DataStream ?? Stream.Null).CopyToAsync(data, Cancel);
            entries.Add(entry);
            content.Add(data.ToArray());
        }

        return (entries, content);
    }

    private static byte[] Plain(byte[] gzip)
    {
        using var plain = new MemoryStream();
        using var reader = new GZipStream(new MemoryStream(gzip), CompressionMode.Decompress);
        reader.CopyTo(plain);
        return plain.ToArray();
    }

    private static async Task<byte[]> TarAsync(params TarEntry[] entries)
    {
        using var tar = new MemoryStream();
        await using (var writer = new TarWriter(tar, leaveOpen: true))
        {
            foreach (var entry in entries)
            {
                await writer.WriteEntryAsync(entry, Cancel);
            }
        }

        return tar.ToArray();
    }
}
