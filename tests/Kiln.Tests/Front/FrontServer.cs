using System.Net.Http.Headers;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server;
using Kiln.Tests.Access;
using Kiln.Tests.Builds;
using Kiln.Tests.Registry;

namespace Kiln.Tests.Front;

/// <summary>A Kiln that stands in front of another registry, beside which a test plays the build node.</summary>
internal static class FrontServer
{
    /// <summary>Who the front is in the registry behind, where that has the users of <see cref="AccessServer"/>.</summary>
    public const string Service = "root";

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>In front of a registry that lets everybody do everything.</summary>
    public static Task<BuildServer> StartAsync(
        string url,
        Func<FrontOptions, FrontOptions>? front = null,
        Func<ServerOptions, ServerOptions>? options = null,
        bool fakeTime = false,
        Func<BuildOptions, BuildOptions>? build = null
    ) =>
        BuildServer.StartAsync(
            b => (build ?? (same => same))(b with { Trigger = PushTriggers.On }),
            options: o =>
                (options ?? (same => same))(
                    o with
                    {
                        Front = (front ?? (f => f))(new FrontOptions { Url = url }),
                        Access = o.Access with { InsecureAnonymous = true },
                    }
                ),
            fakeTime: fakeTime
        );

    /// <summary>In front of a registry with the users of <see cref="AccessServer"/>.</summary>
    /// <param name="service">Who this server is there.</param>
    public static Task<BuildServer> StartGuardedAsync(
        string url,
        string service = Service,
        Func<BuildOptions, BuildOptions>? build = null,
        Func<AccessOptions, AccessOptions>? access = null
    ) =>
        StartAsync(
            url,
            front => front with { User = service, PasswordFile = PasswordFile(service) },
            options =>
                options with
                {
                    Access = (access ?? (same => same))(options.Access with { InsecureAnonymous = false }),
                },
            build: build
        );

    /// <summary>A registry of Kiln's own that lets everybody do everything.</summary>
    public static Task<TestServer> OpenAsync() =>
        TestServer.StartAsync(o => o with { Access = o.Access with { InsecureAnonymous = true } });

    /// <summary>Asks for a build of a recipe, raw, as somebody.</summary>
    public static Task<HttpResponseMessage> PostAsync(
        BuildServer front,
        string repository,
        string? user,
        string recipe = BuildServer.Containerfile,
        string query = "?tag=1.0"
    ) =>
        SendAsync(
            front,
            "POST",
            $"{repository}/_build/v1/jobs{query}",
            user,
            new StringContent(recipe, new MediaTypeHeaderValue(BuildMediaTypes.TextDockerfile))
        );

    public static async Task<HttpResponseMessage> SendAsync(
        BuildServer front,
        string method,
        string path,
        string? user,
        HttpContent? content = null
    )
    {
        using var request = new HttpRequestMessage(new HttpMethod(method), path) { Content = content };
        if (user is not null)
        {
            request.Headers.Authorization = AuthenticationHeaderValue.Parse(AccessServer.Basic(user));
        }

        return await front.Http.SendAsync(request, Cancel);
    }

    /// <summary>Pushes a recipe artifact as oras does, with uploads that every registry takes.</summary>
    public static async Task<HttpResponseMessage> PushRecipeAsync(HttpClient http, string repository, string tag)
    {
        var text = System.Text.Encoding.UTF8.GetBytes(BuildServer.Containerfile);
        await http.PushBlobAsync(repository, text);
        await http.PushBlobAsync(repository, Samples.EmptyJson);
        var recipe = Samples.Image(Samples.Descriptor(text, BuildMediaTypes.Dockerfile));
        recipe["artifactType"] = BuildMediaTypes.Recipe;
        return await http.PutManifestAsync(repository, tag, recipe.Encode());
    }

    /// <summary>Waits for a job's end, or for another state of it.</summary>
    public static async Task<Job> UntilAsync(BuildServer front, string job, Func<Job, bool> enough)
    {
        for (var i = 0; i < 600; i++)
        {
            var now = await front.GetAsync(job);
            if (enough(now))
            {
                return now;
            }

            await Task.Delay(100, Cancel);
        }

        throw new TimeoutException($"job {job} is {(await front.GetAsync(job)).State}");
    }

    /// <summary>Waits for a job's end, as somebody.</summary>
    public static async Task<Job> EndAsync(BuildServer front, string repository, string job, string user)
    {
        for (var i = 0; i < 300; i++)
        {
            using var read = await SendAsync(front, "GET", $"{repository}/_build/v1/jobs/{job}", user);
            if (await BuildServer.ReadAsync(read) is { Done: true } ended)
            {
                return ended;
            }

            await Task.Delay(100, Cancel);
        }

        throw new TimeoutException($"job {job} does not end");
    }

    /// <summary>The manifest of a tag or digest in the registry behind; null where there is none.</summary>
    public static async Task<(ManifestInfo Info, Digest Digest)?> ManifestAsync(
        HttpClient behind,
        string repository,
        string reference
    )
    {
        using var response = await behind.SendAsync(
            "GET",
            $"{repository}/manifests/{reference}",
            headers: [("Accept", $"{MediaTypes.OciIndex}, {MediaTypes.OciManifest}")]
        );
        if (!response.IsSuccessStatusCode)
        {
            return null;
        }

        var bytes = await response.Content.ReadAsByteArrayAsync(Cancel);
        return (ManifestReader.Read(bytes, response.Content.Headers.ContentType?.MediaType, out _)!, Digest.Of(bytes));
    }

    /// <summary>
    /// Fails unless an image can be pulled whole from the registry behind: its index, its manifests, their blobs, and what
    /// is attached to each.
    /// </summary>
    public static async Task ShouldHaveAsync(HttpClient behind, string repository, Job job, string tag)
    {
        var (index, digest) = Assert.NotNull(await ManifestAsync(behind, repository, tag));
        Assert.Equal(job.Result!.Manifest.Digest, digest);
        foreach (var output in job.Result.Outputs)
        {
            Assert.Contains(index.Manifests, m => m.Digest == output.Manifest.Digest);
            var attached = output.Provenance!.Append(output.Log!).Select(e => e.Digest).ToList();
            foreach (var manifest in attached.Prepend(output.Manifest.Digest))
            {
                var (info, _) = Assert.NotNull(await ManifestAsync(behind, repository, manifest.ToString()));
                foreach (var blob in info.Layers.Append(info.Config!))
                {
                    var bytes = await behind.GetByteArrayAsync($"{repository}/blobs/{blob.Digest}", Cancel);
                    Assert.Equal(blob.Digest, Digest.Of(bytes));
                }
            }
        }
    }

    private static string PasswordFile(string user)
    {
        var file = Path.Combine(Path.GetTempPath(), $"kiln-front-{Guid.NewGuid():N}");
        File.WriteAllText(file, AccessServer.PasswordOf(user) + "\n");
        return file;
    }
}
