namespace Kiln.Cli.Context;

/// <summary>What a build starts from: a recipe, and the files beside it, if any.</summary>
internal sealed class BuildInput : IDisposable
{
    private BuildInput(RecipeFile recipe, ContextArchive? context) => (Recipe, Context) = (recipe, context);

    public RecipeFile Recipe { get; }

    /// <summary>Null where there are no files.</summary>
    public ContextArchive? Context { get; }

    public void Dispose() => Context?.Dispose();

    /// <summary>Reads and packs what the command line named.</summary>
    /// <param name="file">The value of <c>-f</c>.</param>
    /// <param name="context">The context argument: a directory, <c>-</c> for none, or null for the current one.</param>
    /// <param name="limit">The largest archive, in bytes, that the registry takes.</param>
    /// <param name="shell">For standard input and notes.</param>
    /// <param name="cancel">Ends it.</param>
    public static async Task<BuildInput> ReadAsync(
        string? file,
        string? context,
        long limit,
        Shell shell,
        CancellationToken cancel
    )
    {
        if (context == RecipeFile.StandardInput)
        {
            return file is null or RecipeFile.StandardInput
                ? new BuildInput(await RecipeFile.ReadAsync(RecipeFile.StandardInput, null, shell, cancel), null)
                : throw CommandFailure.Usage(
                    "the context '-' means a recipe on standard input; leave -f out, or name a directory"
                );
        }

        // As with Apptainer, a definition stands for itself and for the directory that it is in.
        if (file is null && RecipeFile.IsDefinition(context) && File.Exists(context))
        {
            (file, context) = (context, Path.GetDirectoryName(Path.GetFullPath(context)));
        }

        var folder = context ?? ".";
        if (!Directory.Exists(folder))
        {
            throw CommandFailure.Usage(
                File.Exists(folder)
                    ? $"the context '{folder}' is a file; name its directory, and the recipe with -f {folder}"
                    : $"there is no such file or directory: '{folder}'; name the directory with the build's files, or a *.def"
            );
        }

        var recipe = await RecipeFile.ReadAsync(file, folder, shell, cancel);
        var entries = ContextTree.Read(folder, IgnoreFile.Read(folder, recipe.Path));
        return new BuildInput(
            recipe,
            entries.Count == 0 ? null : await ContextArchive.PackAsync(entries, limit, Path.GetTempPath(), cancel)
        );
    }
}
