namespace Kiln.Server.Access.Policies;

/// <summary>What somebody may do with a repository: the actions of the policy file and of token scopes.</summary>
[Flags]
internal enum Rights
{
    None = 0,

    /// <summary>Read manifests, blobs, tags, referrers, jobs and logs.</summary>
    Pull = 1,

    /// <summary>Upload blobs and manifests, set tags.</summary>
    Push = 2,

    /// <summary>Delete manifests, tags and blobs.</summary>
    Delete = 4,

    /// <summary>Request and cancel builds; what they publish takes <see cref="Push"/> too.</summary>
    Build = 8,

    /// <summary>All of them; for the pattern <c>**</c> also machine tokens.</summary>
    Admin = 16,

    All = Pull | Push | Delete | Build | Admin,

    /// <summary>
    /// Build for others: a build node's right. Nothing implies it: whoever builds sees recipes, files and secrets.
    /// </summary>
    Lease = 32,
}

/// <summary>Rights as they are written.</summary>
internal static class RightNames
{
    private static readonly (string Name, Rights Right)[] Names =
    [
        ("pull", Rights.Pull),
        ("push", Rights.Push),
        ("delete", Rights.Delete),
        ("build", Rights.Build),
        ("admin", Rights.Admin),
        ("lease", Rights.Lease),
    ];

    /// <summary>All names, for messages.</summary>
    public const string List = "pull, push, delete, build, admin, lease";

    /// <summary>The right of a name; null where it is none.</summary>
    public static Rights? Parse(string name)
    {
        foreach (var entry in Names)
        {
            if (entry.Name == name)
            {
                return entry.Right;
            }
        }

        return null;
    }

    /// <summary>The names of the rights in a set, in their fixed order.</summary>
    public static IReadOnlyList<string> Of(Rights rights) =>
        [.. Names.Where(n => rights.HasFlag(n.Right)).Select(n => n.Name)];

    /// <summary>The rights of some names; those that are none count for nothing.</summary>
    public static Rights All(IEnumerable<string> names) =>
        names.Aggregate(Rights.None, (all, name) => all | (Parse(name)?.Complete() ?? Rights.None));

    /// <summary>A set with what it implies: <c>admin</c> is everything.</summary>
    public static Rights Complete(this Rights rights) => rights.HasFlag(Rights.Admin) ? rights | Rights.All : rights;
}
