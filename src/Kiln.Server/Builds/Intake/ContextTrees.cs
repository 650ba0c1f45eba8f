using System.Collections.Concurrent;
using Kiln.BuildSpec;
using Kiln.Inspect;
using Kiln.Oci;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;

namespace Kiln.Server.Builds.Intake;

/// <summary>The tree digests of contexts. Each blob is read once; what it came to is kept.</summary>
internal sealed class ContextTrees(Database database, Blobs blobs, BuildOptions options, IRecipesBehind? behind = null)
{
    private const int MaxEntries = 500_000;
    private readonly ConcurrentDictionary<(Digest, int), Lazy<Task<ContextTree>>> _reading = new();

    /// <summary>The tree digests of a recipe's contexts, in order.</summary>
    /// <exception cref="OciException">One is not there, broken, or they are over the limit together.</exception>
    public async Task<IReadOnlyList<Digest>> OfAsync(
        RepositoryName repository,
        IReadOnlyList<LeaseContext> contexts,
        CancellationToken cancel
    )
    {
        var digests = new List<Digest>(contexts.Count);
        var total = 0L;
        foreach (var context in contexts)
        {
            if (behind is not null)
            {
                await behind.BringAsync(repository, context.Blob, options.MaxContextBytes, cancel);
            }

            if (blobs.Size(repository, context.Blob.Digest) is not { } size)
            {
                throw new OciException(
                    ErrorCodes.ManifestBlobUnknown,
                    $"the context blob {context.Blob.Digest} is not in {repository}; push it first"
                );
            }

            if (size > options.MaxContextBytes)
            {
                throw TooLarge();
            }

            var (tree, bytes) = Stored(context) ?? await ReadAsync(repository, context, cancel);
            digests.Add(tree);
            total += bytes;
            if (total > options.MaxContextBytes)
            {
                throw TooLarge();
            }
        }

        return digests;
    }

    private (Digest Tree, long Bytes)? Stored(LeaseContext context) =>
        database.Read(c =>
            c.Query<(Digest, long)?>(
                    "SELECT tree, bytes FROM context_trees WHERE digest = @digest AND strip = @strip",
                    row => (Digest.Parse(row.GetString(0)), row.GetInt64(1)),
                    ("digest", context.Blob.Digest.ToString()),
                    ("strip", context.Strip)
                )
                .FirstOrDefault()
        );

    private async Task<(Digest Tree, long Bytes)> ReadAsync(
        RepositoryName repository,
        LeaseContext context,
        CancellationToken cancel
    )
    {
        var key = (context.Blob.Digest, context.Strip);
        var reading = _reading.GetOrAdd(
            key,
            _ => new Lazy<Task<ContextTree>>(() => ReadTreeAsync(repository, context))
        );
        try
        {
            var tree = await reading.Value.WaitAsync(cancel);
            return (tree.Digest, tree.Bytes);
        }
        finally
        {
            _reading.TryRemove(key, out _);
        }
    }

    private async Task<ContextTree> ReadTreeAsync(RepositoryName repository, LeaseContext context)
    {
        await using var blob = await blobs.OpenAsync(repository, context.Blob.Digest, 0, CancellationToken.None);
        var limits = new ContextLimits(options.MaxContextBytes, MaxEntries);
        var (tree, fault) = await ContextTree.ReadAsync(
            blob ?? Stream.Null,
            context.Strip,
            limits,
            CancellationToken.None
        );
        if (tree is null)
        {
            throw fault!.TooLarge
                ? TooLarge()
                : new OciException(
                    BuildErrors.RecipeInvalid,
                    $"the context {Name(context)} is not a tar that can be used: {fault.Message}"
                );
        }

        await database.WriteAsync(
            transaction =>
                transaction.Run(
                    """
                    INSERT INTO context_trees (digest, strip, tree, bytes) VALUES (@digest, @strip, @tree, @bytes)
                    ON CONFLICT DO NOTHING
                    """,
                    ("digest", context.Blob.Digest.ToString()),
                    ("strip", context.Strip),
                    ("tree", tree.Digest.ToString()),
                    ("bytes", tree.Bytes)
                ),
            CancellationToken.None
        );
        return tree;
    }

    private static string Name(LeaseContext context) =>
        context.Blob.Annotations?.GetValueOrDefault(RecipeAnnotations.Title) is { } title
            ? $"'{title}'"
            : context.Blob.Digest.ToString();

    private OciException TooLarge() =>
        new(
            BuildErrors.ContextTooLarge,
            $"the build context is larger than {options.MaxContextBytes} bytes or {MaxEntries} files; leave out what the "
                + "build does not need (.containerignore)"
        );
}
