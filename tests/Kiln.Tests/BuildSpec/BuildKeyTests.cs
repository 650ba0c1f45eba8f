using System.Text.Json;
using CsCheck;
using Kiln.BuildSpec;
using Kiln.Oci;

namespace Kiln.Tests.BuildSpec;

/// <summary>The build key: the published vector, and that nothing which is in it can change without changing it.</summary>
public sealed class BuildKeyTests
{
    private static readonly BuildKey Vector = new()
    {
        BuildType = "dockerfile",
        Recipe = Digest.Parse("sha256:a206c1b6fe0fd30bd30064eda6b2c23e466158c112e741f56b4edf293952de0e"),
        Args = new Dictionary<string, string> { ["MSG"] = "hi" },
        Platform = Platform.LinuxAmd64,
        Format = "oci",
        Options = new Dictionary<string, string>
        {
            ["compression"] = "gzip",
            ["engine"] = "buildah/1",
            ["network"] = "isolated",
            ["sourceDate"] = "",
        },
    };

    private static readonly Gen<Digest> Digests = Gen.Byte.Array[1, 8].Select(bytes => Digest.Of(bytes));
    private static readonly Gen<IReadOnlyDictionary<string, string>> Maps = Gen.Dictionary(
            Gen.String[Gen.Char['A', 'F'], 1, 2],
            Gen.String[0, 3]
        )[0, 3]
        .Select(d => (IReadOnlyDictionary<string, string>)d);

    private static readonly Gen<BuildKey> Keys = Gen.Select(
        Digests,
        Digests.List[0, 2],
        Maps,
        Gen.String[0, 3].List[0, 2],
        Maps,
        OneOf("linux/amd64", "linux/arm64", "linux/amd64/v3"),
        OneOf("", "test", "final"),
        (recipe, contexts, args, secrets, options, platform, target) =>
            new BuildKey
            {
                BuildType = "dockerfile",
                Recipe = recipe,
                Contexts = contexts,
                Args = args,
                Secrets = secrets,
                Options = options,
                Platform = Platform.Parse(platform),
                Target = target,
                Format = "oci",
            }
    );

    [Fact]
    public void The_published_vector_holds()
    {
        var path = Path.Combine(Architecture.SourceTree.Root, "spec", "build-key-test-vector.json");
        using var vector = JsonDocument.Parse(File.ReadAllBytes(path));

        Assert.Equal(vector.RootElement.GetProperty("canonical").GetString(), Vector.Canonical());
        Assert.Equal(vector.RootElement.GetProperty("key").GetString(), Vector.Compute());
    }

    [Fact]
    public void Any_changed_member_changes_the_key() =>
        Gen.Select(Keys, Digests, Gen.String[1, 3])
            .Sample(
                (key, digest, text) =>
                {
                    var changed = new List<BuildKey>
                    {
                        key with
                        {
                            BuildType = key.BuildType + text,
                        },
                        key with
                        {
                            Recipe = Digest.Of([.. digest.ToString().Select(c => (byte)c)]),
                        },
                        key with
                        {
                            Contexts = [.. key.Contexts, digest],
                        },
                        key with
                        {
                            Target = key.Target + text,
                        },
                        key with
                        {
                            Args = With(key.Args, text),
                        },
                        key with
                        {
                            Secrets = [.. key.Secrets, text],
                        },
                        key with
                        {
                            Platform = key.Platform with { Variant = key.Platform.Variant + "x" },
                        },
                        key with
                        {
                            Platform = key.Platform with { Architecture = key.Platform.Architecture + "x" },
                        },
                        key with
                        {
                            Microarchitecture = key.Microarchitecture + text,
                        },
                        key with
                        {
                            Format = key.Format + text,
                        },
                        key with
                        {
                            Options = With(key.Options, text),
                        },
                    };
                    var keys = changed.ConvertAll(k => k.Compute()).Append(key.Compute()).ToList();
                    return keys.Distinct().Count() == keys.Count;
                },
                iter: 300
            );

    [Fact]
    public void Order_of_contexts_counts_and_that_of_arguments_and_secrets_does_not() =>
        Gen.Select(Keys, Digests, Digests)
            .Sample(
                (key, one, two) =>
                {
                    var forwards = key with { Contexts = [one, two] };
                    var backwards = key with { Contexts = [two, one] };
                    var turned = key with
                    {
                        Args = key.Args.Reverse().ToDictionary(),
                        Secrets = [.. key.Secrets.Reverse()],
                    };
                    return one == two == (forwards.Compute() == backwards.Compute())
                        && turned.Compute() == key.Compute();
                },
                iter: 300
            );

    private static Gen<string> OneOf(params string[] values) => Gen.Int[0, values.Length - 1].Select(i => values[i]);

    private static Dictionary<string, string> With(IReadOnlyDictionary<string, string> map, string text) =>
        new(map) { ["added"] = text };
}
