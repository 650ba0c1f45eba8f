using System.Data.Common;
using Kiln.Server.Builds.Queue;

namespace Kiln.Server.Builds.Publish;

/// <summary>How far the products of a job are on their way to the registry behind.</summary>
/// <param name="IsThere">All of them are there, and the job's tags point at them.</param>
/// <param name="Reason">Why the job fails; null where it does not.</param>
internal sealed record LandingState(bool IsThere, string? Reason = null, string? Message = null)
{
    public static readonly LandingState Landed = new(IsThere: true);
    public static readonly LandingState UnderWay = new(IsThere: false);
}

/// <summary>
/// The registry in front of which this server stands, as those see it who publish: a job is done when what it built is
/// there. Absent where this server is a registry of its own.
/// </summary>
internal interface IProductsBehind
{
    /// <summary>
    /// How far a job's products are, all of which have been built. Asked for the first time, they are sent on their way.
    /// </summary>
    LandingState Land(DbTransaction transaction, JobRow job);

    /// <summary>Whether a job's tags are being moved, so that it cannot be cancelled any more.</summary>
    bool IsMovingTags(DbConnection connection, string job);
}
