using System.Diagnostics;
using System.Net;
using Kiln.Oci;
using Kiln.Server;
using Microsoft.AspNetCore.Builder;

namespace Kiln.Tests.Registry;

/// <summary>A disk without room: an answer that says so, and nothing is lost.</summary>
public sealed class FullDiskTests
{
    [Fact]
    public async Task An_upload_that_finds_no_room_keeps_what_it_had_and_goes_on_when_there_is_some()
    {
        using var disk = SmallDisk.Mount(megabytes: 8);
        await using var server = await StartAsync(disk);
        using var http = Client(server);
        var content = Samples.Bytes(3 << 20);
        var location = await http.StartUploadAsync("a/b");
        using var first = await http.SendAsync("PATCH", location, content[..(1 << 20)], MediaTypes.OctetStream);
        Assert.Equal(HttpStatusCode.Accepted, first.StatusCode);
        var filler = Path.Combine(disk.Path, "filler");
        Fill(filler);

        using var refused = await http.SendAsync("PATCH", location, content[(1 << 20)..], MediaTypes.OctetStream);
        await refused.ShouldFailAsync(507, "UNAVAILABLE");
        using var single = await http.SendAsync("POST", $"a/b/blobs/uploads/?digest={Digest.Of(content)}", content);
        await single.ShouldFailAsync(507, "UNAVAILABLE");

        File.Delete(filler);
        using var status = await http.GetAsync(location);
        Assert.Equal("0-1048575", status.Header("Range"));
        using var rest = await http.PutUploadAsync(location, Digest.Of(content), content[(1 << 20)..]);
        Assert.Equal(HttpStatusCode.Created, rest.StatusCode);
        Assert.Equal(content, await http.GetByteArrayAsync(rest.Headers.Location));
    }

    [Fact]
    public async Task A_manifest_that_the_database_has_no_room_for_is_refused_and_what_was_there_stays()
    {
        using var disk = SmallDisk.Mount(megabytes: 8);
        await using var server = await StartAsync(disk);
        using var http = Client(server);
        var image = Samples.Image();
        await http.PushAsync("a/b", image, "1");
        var filler = Path.Combine(disk.Path, "filler");
        Fill(filler);

        var large = Samples.Image();
        large["annotations"]!["x"] = new string('x', 2 << 20);
        using var refused = await http.PutManifestAsync("a/b", "1", large.Encode());

        await refused.ShouldFailAsync(507, "UNAVAILABLE");
        Assert.Equal(image.Encode(), await http.GetByteArrayAsync("a/b/manifests/1"));
        File.Delete(filler);
        using var accepted = await http.PutManifestAsync("a/b", "1", large.Encode());
        Assert.Equal(HttpStatusCode.Created, accepted.StatusCode);
    }

    // Bytes and database on the small disk, whatever the run is about.
    private static async Task<WebApplication> StartAsync(SmallDisk disk)
    {
        var app = KilnServer.Create(
            new ServerOptions
            {
                DataDirectory = Path.Combine(disk.Path, "data"),
                Urls = "http://127.0.0.1:0",
                Build = new BuildOptions { LocalNode = false },
            }
        );
        await app.StartAsync();
        return app;
    }

    private static HttpClient Client(WebApplication server) =>
        new() { BaseAddress = new Uri(server.Urls.Single() + "/v2/") };

    private static void Fill(string path)
    {
        using var file = File.Create(path);
        var block = new byte[16 << 10];
        try
        {
            while (true)
            {
                file.Write(block);
                file.Flush();
            }
        }
        catch (IOException)
        {
            // That was the last block.
        }
    }

    /// <summary>A real file system of a few megabytes.</summary>
    private sealed class SmallDisk : IDisposable
    {
        private SmallDisk(string path) => Path = path;

        public string Path { get; }

        public static SmallDisk Mount(int megabytes)
        {
            var path = Directory.CreateTempSubdirectory("kiln-small-").FullName;
            if (Run("mount", "-t", "tmpfs", "-o", $"size={megabytes}m", "tmpfs", path) != 0)
            {
                Directory.Delete(path);
                Assert.Skip("NOT RUN: this user may not mount a small file system");
            }

            return new SmallDisk(path);
        }

        public void Dispose()
        {
            Run("umount", "-l", Path);
            Directory.Delete(Path, recursive: true);
        }

        private static int Run(string program, params string[] arguments)
        {
            var start = new ProcessStartInfo(program, arguments)
            {
                RedirectStandardError = true,
                UseShellExecute = false,
            };
            try
            {
                using var process = Process.Start(start)!;
                process.WaitForExit();
                return process.ExitCode;
            }
            catch (System.ComponentModel.Win32Exception)
            {
                return -1;
            }
        }
    }
}
