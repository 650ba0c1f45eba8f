using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Cli.Context;
using Kiln.Client.Registry;
using Kiln.Oci;

namespace Kiln.Cli.Verbs;

/// <summary>Pushes a recipe artifact (build-extension, "Recipe artifact").</summary>
internal sealed class RecipePush(Connection connection, Shell shell)
{
    private static readonly byte[] EmptyConfig = "{}"u8.ToArray();

    public async Task<int> RunAsync(
        Reference target,
        BuildInput input,
        IReadOnlyDictionary<string, string> annotations,
        CancellationToken cancel
    )
    {
        var repository = RemoteRepository.Of(target);
        var recipe = new Descriptor
        {
            MediaType = input.Recipe.MediaType,
            Digest = Digest.Of(input.Recipe.Bytes),
            Size = input.Recipe.Bytes.Length,
            Annotations = new Dictionary<string, string>
            {
                [RecipeAnnotations.Title] = Path.GetFileName(input.Recipe.Path) ?? "Containerfile",
            },
        };
        var config = new Descriptor
        {
            MediaType = MediaTypes.OciEmpty,
            Digest = Digest.EmptyJson,
            Size = EmptyConfig.Length,
        };
        await connection.Registry.PushBlobAsync(repository, config, () => new MemoryStream(EmptyConfig), cancel);
        await connection.Registry.PushBlobAsync(repository, recipe, () => new MemoryStream(input.Recipe.Bytes), cancel);
        if (input.Context is { } context)
        {
            await connection.Registry.PushBlobAsync(repository, context.Descriptor, context.Open, cancel);
        }

        var manifest = new ImageManifest
        {
            ArtifactType = BuildMediaTypes.Recipe,
            Config = config,
            Layers = input.Context is null ? [recipe] : [recipe, input.Context.Descriptor],
            Annotations = annotations.Count == 0 ? null : annotations,
        };
        var bytes = JsonSerializer.SerializeToUtf8Bytes(manifest, OciJson.Default.ImageManifest);
        var pushed = await connection.Registry.PushManifestAsync(target, manifest.MediaType, bytes, cancel);
        foreach (var warning in pushed.Warnings)
        {
            await shell.Error.WriteLineAsync(TerminalText.Escape(warning));
        }

        if (pushed.Links.TryGetValue("status", out var status))
        {
            await shell.Error.WriteLineAsync($"job: {TerminalText.Escape(status)}");
        }

        await shell.Out.WriteLineAsync(pushed.Digest.ToString());
        return ExitCodes.Ok;
    }
}
