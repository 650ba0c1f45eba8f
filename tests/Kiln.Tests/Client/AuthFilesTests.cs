using System.Text;
using Kiln.Client.Credentials;
using Kiln.Oci;

namespace Kiln.Tests.Client;

public sealed class AuthFilesTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kiln-auth-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("registry.example", "registry.example", "a")]
    [InlineData("registry.example:5000", "registry.example:5000", "a")]
    [InlineData("https://registry.example/v1/", "registry.example", "a")]
    [InlineData("https://index.docker.io/v1/", "docker.io", "a")]
    [InlineData("docker.io", "docker.io", "a")]
    [InlineData("registry.example/team", "registry.example", "a/b")]
    [InlineData("registry.example", "other.example", "a")]
    public void A_key_of_any_tool_is_found_for_its_host_only(string key, string host, string repository)
    {
        var files = Files($$$$"""{"auths":{"{{{{key}}}}":{"auth":"{{{{Encoded("me:secret")}}}}"}}}""");

        var login = files.Find(host, RepositoryName.Parse(repository));

        Assert.Equal(key != "registry.example/team" && host != "other.example", login is not null);
    }

    [Fact]
    public void The_most_specific_key_wins()
    {
        var files = Files(
            $$$$"""
            {"auths":{"r.example":{"auth":"{{{{Encoded("host:1")}}}}"},"r.example/a":{"auth":"{{{{Encoded(
                "team:2"
            )}}}}"},
            "r.example/a/b":{"auth":"{{{{Encoded("repo:3")}}}}"}}}
            """
        );

        Assert.Equal("repo", files.Find("r.example", RepositoryName.Parse("a/b"))?.User);
        Assert.Equal("team", files.Find("r.example", RepositoryName.Parse("a/c"))?.User);
        Assert.Equal("host", files.Find("r.example", RepositoryName.Parse("x"))?.User);
    }

    [Fact]
    public void The_first_file_that_knows_the_registry_wins()
    {
        var first = Write("first.json", $$$$"""{"auths":{"a.example":{"auth":"{{{{Encoded("one:1")}}}}"}}}""");
        var second = Write(
            "second.json",
            $$$$"""{"auths":{"a.example":{"auth":"{{{{Encoded("two:2")}}}}"},"b.example":{"auth":"{{{{Encoded("two:2")}}}}"}}}"""
        );
        var files = new AuthFiles([Path.Combine(_folder, "absent.json"), first, second]);

        Assert.Equal("one", files.Find("a.example", null)?.User);
        Assert.Equal("two", files.Find("b.example", null)?.User);
    }

    [Fact]
    public void A_password_with_colons_and_an_identity_token_are_kept_whole()
    {
        var files = Files(
            $$$$"""{"auths":{"a.example":{"auth":"{{{{Encoded("me:a:b:c")}}}}"},"b.example":{"auth":"{{{{Encoded("me:")}}}}","identitytoken":"t"}}}"""
        );

        Assert.Equal("a:b:c", files.Find("a.example", null)?.Password);
        Assert.Equal("t", files.Find("b.example", null)?.IdentityToken);
    }

    [Theory]
    [InlineData("{not json secretword")]
    [InlineData("""{"auths":{"a.example":{"auth":"secretword!!"}}}""")]
    public void A_broken_file_is_named_without_its_content(string content)
    {
        var files = Files(content);

        var e = Assert.Throws<InvalidDataException>(() => files.Find("a.example", null));

        Assert.Contains("auth.json", e.Message);
        Assert.DoesNotContain("secretword", e.Message);
    }

    [Fact]
    public void The_users_files_are_looked_for_in_the_documented_order()
    {
        var named = Write("named.json", $$$$"""{"auths":{"a.example":{"auth":"{{{{Encoded("named:1")}}}}"}}}""");
        Directory.CreateDirectory(Path.Combine(_folder, ".docker"));
        Write(".docker/config.json", $$$$"""{"auths":{"a.example":{"auth":"{{{{Encoded("docker:1")}}}}"}}}""");
        var variables = new Dictionary<string, string> { ["HOME"] = _folder };

        Assert.Equal("docker", AuthFiles.OfUser(variables.GetValueOrDefault).Find("a.example", null)?.User);
        variables["REGISTRY_AUTH_FILE"] = named;
        Assert.Equal("named", AuthFiles.OfUser(variables.GetValueOrDefault).Find("a.example", null)?.User);
    }

    private static string Encoded(string text) => Convert.ToBase64String(Encoding.UTF8.GetBytes(text));

    private AuthFiles Files(string content) => new([Write("auth.json", content)]);

    private string Write(string name, string content)
    {
        var path = Path.Combine(_folder, name);
        File.WriteAllText(path, content);
        return path;
    }
}
