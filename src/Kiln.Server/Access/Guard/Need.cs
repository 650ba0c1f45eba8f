using Kiln.Server.Access.Policies;
using Kiln.Server.Audit;

namespace Kiln.Server.Access.Guard;

/// <summary>What a route takes.</summary>
internal enum NeedKind
{
    /// <summary>Nothing: whoever comes is heard.</summary>
    Nothing,

    /// <summary>Credentials that are right, or a token that was given to nobody in particular.</summary>
    Login,

    /// <summary>The right to list repositories; the list has only what the caller may pull.</summary>
    Catalog,

    /// <summary>Rights in the path's repository.</summary>
    Repository,

    /// <summary>Some right in the path's repository, whichever.</summary>
    AnyRight,

    /// <summary>The right to manage the registry.</summary>
    Admin,

    /// <summary>The right to build for others (<c>lease</c>), or for oneself.</summary>
    Claim,

    /// <summary>A lease's credential and nothing else.</summary>
    Lease,
}

/// <summary>What a lease's credential is good for at a route.</summary>
internal enum LeaseUse
{
    /// <summary>Nothing: a lease is refused.</summary>
    None,

    /// <summary>It is heard like everybody.</summary>
    Anything,

    /// <summary>Reading what the requester may read, and what the lease itself has pushed or needs.</summary>
    Pull,

    /// <summary>Pushing into the lease's staging area.</summary>
    Push,

    /// <summary>The words of the lease itself; also when it is over, to hear just that.</summary>
    Words,
}

/// <summary>Who may use a route, and what the audit log calls its use.</summary>
/// <param name="Action">One of <see cref="AuditActions"/>.</param>
/// <param name="Recorded">Whether its use is written down; refusals always are.</param>
internal sealed record Need(NeedKind Kind, Rights Rights, string Action, bool Recorded)
{
    /// <summary>What a lease's credential may do here; without a word on it, nothing.</summary>
    public LeaseUse Lease { get; init; }

    public static readonly Need Nothing = new(NeedKind.Nothing, Rights.None, AuditActions.Login, Recorded: false);
    public static readonly Need Login = new(NeedKind.Login, Rights.None, AuditActions.Read, Recorded: false);
    public static readonly Need Catalog = new(NeedKind.Catalog, Rights.None, AuditActions.Read, Recorded: false);
    public static readonly Need AnyRight = new(NeedKind.AnyRight, Rights.None, AuditActions.Read, Recorded: false);
    public static readonly Need Pull = new(NeedKind.Repository, Rights.Pull, AuditActions.Read, Recorded: false);

    public static Need Push(string action, bool recorded = true) =>
        new(NeedKind.Repository, Rights.Push, action, recorded);

    public static Need Delete(string action) => new(NeedKind.Repository, Rights.Delete, action, Recorded: true);

    /// <summary>Words under a lease, by whoever holds it.</summary>
    public static Need OfLease(string action, bool recorded) =>
        new(NeedKind.Lease, Rights.None, action, recorded) { Lease = LeaseUse.Words };

    public static Need Claim(string action) => new(NeedKind.Claim, Rights.None, action, Recorded: false);

    /// <summary>To build is to publish: that takes the right to push as well.</summary>
    public static Need Build(string action) =>
        new(NeedKind.Repository, Rights.Build | Rights.Push, action, Recorded: true);

    /// <summary>The right to manage the path's repository.</summary>
    public static Need Manage(string action, bool recorded = true) =>
        new(NeedKind.Repository, Rights.Admin, action, recorded);

    public static Need Admin(string action, bool recorded = true) => new(NeedKind.Admin, Rights.None, action, recorded);
}
