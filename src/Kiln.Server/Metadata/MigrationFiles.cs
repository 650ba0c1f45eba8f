using System.Data.Common;
using System.Reflection;

namespace Kiln.Server.Metadata;

/// <summary>The schema as numbered SQL files, which are inside the program; each is applied once, in order.</summary>
internal static class MigrationFiles
{
    private const string Prefix = "Kiln.Server.Metadata.Migrations.";

    /// <summary>Applies what the database lacks. Nobody else may migrate it meanwhile.</summary>
    /// <param name="dialect">The folder with the files: <c>sqlite</c> or <c>postgres</c>.</param>
    public static void Apply(DbTransaction transaction, string dialect)
    {
        transaction.Run("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY)");
        var assembly = Assembly.GetExecutingAssembly();
        var prefix = $"{Prefix}{dialect}.";
        foreach (var resource in assembly.GetManifestResourceNames().Order(StringComparer.Ordinal))
        {
            if (!resource.StartsWith(prefix, StringComparison.Ordinal))
            {
                continue;
            }

            var name = resource[prefix.Length..];
            if (transaction.Scalar<string>("SELECT name FROM migrations WHERE name = @name", ("name", name)) is null)
            {
                using var reader = new StreamReader(assembly.GetManifestResourceStream(resource)!);
                transaction.Run(reader.ReadToEnd());
                transaction.Run("INSERT INTO migrations (name) VALUES (@name)", ("name", name));
            }
        }
    }
}
