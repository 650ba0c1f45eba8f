using System.IO.Compression;
using System.Net;
using Kiln.Node.Notifications;
using Kiln.Oci;
using Kiln.Tests.Inspect;

namespace Kiln.Tests.Node.Notifications;

/// <summary>What a node remembers of layers.</summary>
public sealed class LayerShelfTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("kiln-shelf-").FullName;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    /// <summary>Else no image on a base that the node has known for long would have hints.</summary>
    [Fact]
    public async Task What_an_earlier_program_remembered_is_read_anew()
    {
        var shelf = new LayerShelf(
            new NotificationOptions
            {
                Directory = _directory,
                Listen = new IPEndPoint(IPAddress.Loopback, 0),
                Registries = [],
                Builder = "https://node.example.org",
            },
            Directory.CreateDirectory(Path.Combine(_directory, "bases")).FullName
        );
        var layer = new Tars().Program("usr/bin/app", ElfFiles.Mpi).Gzip();
        var digest = Digest.Of(layer);
        var file = Path.Combine(_directory, "layer");
        await File.WriteAllBytesAsync(file, layer, Cancel);
        Assert.NotNull((await shelf.ReadAsync(digest, file, Cancel)).Facts);
        Assert.NotNull((await shelf.FindAsync(digest, Cancel))!.Value.Facts);

        await using (var old = File.Create(Path.Combine(_directory, "facts", $"{digest.Algorithm}-{digest.Encoded}")))
        await using (var gzip = new GZipStream(old, CompressionMode.Compress))
        {
            gzip.Write("""{"TarBytes":1024,"Entries":[{"p":"usr/bin/app","m":493,"s":1}]}"""u8);
        }

        Assert.Null(await shelf.FindAsync(digest, Cancel));
    }
}
