using System.Data.Common;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Metadata;

namespace Kiln.Server.Builds.Queue;

/// <summary>Where the tags of a job point, and whether it may move them.</summary>
internal static class JobTags
{
    /// <summary>Digests by tag; those that are not there are left out.</summary>
    public static Dictionary<string, string> Pointing(DbConnection connection, long repository, IEnumerable<Tag> tags)
    {
        var pointing = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var tag in tags)
        {
            var digest = connection.Scalar<string>(
                "SELECT digest FROM tags WHERE repository = @repository AND name = @tag",
                ("repository", repository),
                ("tag", tag.Value)
            );
            if (digest is not null)
            {
                pointing[tag.Value] = digest;
            }
        }

        return pointing;
    }

    /// <summary>Why a job may not move its tags now; null where it may.</summary>
    public static string? Forbidden(DbConnection connection, JobRow job, IReadOnlyList<string> tags)
    {
        if (job.TagPolicy is null)
        {
            return null;
        }

        var seen =
            job.TagPolicy == TagPolicies.CreateOnly
                ? new Dictionary<string, string>()
                : JsonSerializer.Deserialize(job.TagsSeen!, OciJson.Default.IReadOnlyDictionaryStringString)!;
        var now = Pointing(connection, job.RepositoryId, tags.Select(Tag.Parse));
        var moved = tags.FirstOrDefault(t => seen.GetValueOrDefault(t) != now.GetValueOrDefault(t));
        return moved is null
            ? null
            : $"the tag {moved} was moved by somebody else meanwhile, and the request has tagPolicy {job.TagPolicy}";
    }
}
