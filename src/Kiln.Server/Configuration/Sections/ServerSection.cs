namespace Kiln.Server.Configuration.Sections;

/// <summary>What stands at the top: where the server listens, and where it keeps what it has to remember.</summary>
internal static class ServerSection
{
    public static IReadOnlyList<Field<ServerOptions>> Fields { get; } =
    [
        new Field<ServerOptions, string>(
            "data",
            "The directory that holds everything the server keeps; $XDG_DATA_HOME/kiln or ~/.local/share/kiln otherwise.",
            Kinds.Folder,
            o => o.DataDirectory,
            (o, v) => o with { DataDirectory = v }
        )
        {
            Flag = new("--data"),
        },
        new Field<ServerOptions, Durability>(
            "durability",
            "What is acknowledged is on the disk (full), or may be lost with the power (relaxed): faster where disks sync slowly.",
            Kinds.Choice(("full", Durability.Full), ("relaxed", Durability.Relaxed)),
            o => o.Durability,
            (o, v) => o with { Durability = v }
        )
        {
            Flag = new("--durability"),
        },
        new Field<ServerOptions, string>(
            "urls",
            "Where to listen; several addresses are separated by semicolons.",
            Kinds.Checked("URL", _ => null),
            o => o.Urls,
            (o, v) => o with { Urls = v }
        )
        {
            Flag = new("--urls"),
        },
        new Field<ServerOptions, string>(
            "policy",
            "The file that says who may do what.",
            Kinds.File,
            o => o.Access.PolicyFile,
            (o, v) => o with { Access = o.Access with { PolicyFile = v } }
        )
        {
            Flag = new("--policy"),
        },
        new Field<ServerOptions, string>(
            "database",
            "A PostgreSQL for names and the build queue, shared by several servers: postgres://USER@HOST/DATABASE.",
            Kinds.Checked("ADDRESS", _ => null),
            o => o.Database,
            (o, v) => o with { Database = v }
        )
        {
            Flag = new("--database"),
        },
        new Field<ServerOptions, string>(
            "database-password-file",
            "A file with the database's password; PGPASSWORD and PGPASSFILE work too.",
            Kinds.File,
            o => o.DatabasePasswordFile,
            (o, v) => o with { DatabasePasswordFile = v }
        )
        {
            Flag = new("--database-password-file"),
        },
        new Field<ServerOptions, string>(
            "keys-file",
            "A secret of which the server makes its keys: the same for all servers of one database.",
            Kinds.File,
            o => o.KeysFile,
            (o, v) => o with { KeysFile = v }
        )
        {
            Flag = new("--keys-file"),
        },
    ];
}
