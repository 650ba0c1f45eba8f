using System.Diagnostics.CodeAnalysis;
using System.Text;
using Kiln.BuildSpec;

namespace Kiln.Cli.Context;

/// <summary>A recipe's bytes, what kind it is, and where it was.</summary>
/// <param name="Bytes">The recipe as it is on disk.</param>
/// <param name="MediaType">One of the recipe types of <see cref="BuildMediaTypes"/>.</param>
/// <param name="Path">The file; null where it came from standard input.</param>
internal sealed record RecipeFile(byte[] Bytes, string MediaType, string? Path)
{
    public const string StandardInput = "-";
    private const int MaxBytes = 1 << 20;

    /// <summary>Finds and reads the recipe.</summary>
    /// <param name="file">What <c>-f</c> said: a path from here or from the context, <c>-</c>, or null.</param>
    /// <param name="context">The context directory; null where there is none.</param>
    /// <param name="shell">For standard input.</param>
    /// <param name="cancel">Ends it.</param>
    public static async Task<RecipeFile> ReadAsync(string? file, string? context, Shell shell, CancellationToken cancel)
    {
        var path = file == StandardInput ? null : Locate(file, context);
        await using var stream = path is null ? shell.In() : File.OpenRead(path);
        using var bytes = new MemoryStream();
        var buffer = new byte[16 * 1024];
        for (int read; (read = await stream.ReadAsync(buffer, cancel)) > 0; )
        {
            bytes.Write(buffer, 0, read);
            if (bytes.Length > MaxBytes)
            {
                throw CommandFailure.Usage(
                    $"the recipe {path ?? "on standard input"} is larger than {Sizes.Text(MaxBytes)}"
                );
            }
        }

        return bytes.Length == 0
            ? throw CommandFailure.Usage($"the recipe {path ?? "on standard input"} is empty")
            : new RecipeFile(bytes.ToArray(), TypeOf(path, bytes.ToArray()), path);
    }

    /// <summary>Whether a file of this name is a definition of Singularity's and Apptainer's.</summary>
    public static bool IsDefinition([NotNullWhen(true)] string? path) =>
        path is not null
        && (
            path.EndsWith(".def", StringComparison.OrdinalIgnoreCase)
            || System.IO.Path.GetFileName(path) is "Singularity" or "Apptainer"
        );

    private static string Locate(string? file, string? context)
    {
        if (file is not null)
        {
            var inContext = context is null ? null : System.IO.Path.Combine(context, file);
            return File.Exists(file) ? file
                : inContext is not null && File.Exists(inContext) ? inContext
                : throw CommandFailure.Usage($"there is no recipe '{file}'; name one with -f FILE");
        }

        var folder = context ?? ".";
        foreach (var name in new[] { "Containerfile", "Dockerfile" })
        {
            var path = System.IO.Path.Combine(folder, name);
            if (File.Exists(path))
            {
                return path;
            }
        }

        var definitions = Directory.GetFiles(folder, "*.def");
        return definitions.Length switch
        {
            1 => definitions[0],
            0 => throw CommandFailure.Usage(
                $"there is no Containerfile, Dockerfile or *.def in '{folder}'; name a recipe with -f FILE"
            ),
            _ => throw CommandFailure.Usage($"there are several *.def in '{folder}'; choose one with -f FILE"),
        };
    }

    private static string TypeOf(string? path, byte[] bytes)
    {
        if (IsDefinition(path))
        {
            return BuildMediaTypes.Singularity;
        }

        // A definition file's header begins with its bootstrap agent; no Dockerfile instruction is spelled so.
        var first = Encoding
            .UTF8.GetString(bytes)
            .Split('\n')
            .Select(line => line.Trim())
            .FirstOrDefault(line => line.Length > 0 && !line.StartsWith('#'));
        return first?.StartsWith("Bootstrap:", StringComparison.OrdinalIgnoreCase) == true
            ? BuildMediaTypes.Singularity
            : BuildMediaTypes.Dockerfile;
    }
}
