using System.Diagnostics.CodeAnalysis;
using Kiln.BuildSpec;
using Kiln.Client.Registry;
using Kiln.Oci;

namespace Kiln.Client.Builds;

/// <summary>Where a job is: its repository and its id.</summary>
public sealed record JobAddress(RemoteRepository Repository, string Id)
{
    private const string Middle = "/_build/v1/jobs/";

    public string Path => Ids.JobPath(Repository.Name, Id);

    /// <summary>As people write it, and as the commands take it.</summary>
    public override string ToString() => $"{Repository} {Id}";

    /// <summary>Reads a job's URL, as servers print it, with anything after the id ignored (<c>/logs?follow=1</c>).</summary>
    public static bool TryParseUrl(string text, [NotNullWhen(true)] out JobAddress? address)
    {
        address = null;
        if (
            !Uri.TryCreate(text, UriKind.Absolute, out var uri)
            || uri.Scheme is not ("http" or "https")
            || !uri.AbsolutePath.StartsWith("/v2/", StringComparison.Ordinal)
        )
        {
            return false;
        }

        var path = uri.AbsolutePath["/v2/".Length..];
        var middle = path.IndexOf(Middle, StringComparison.Ordinal);
        if (middle < 0 || !RepositoryName.TryParse(path[..middle], out var name))
        {
            return false;
        }

        var id = path[(middle + Middle.Length)..].Split('/')[0];
        address = Ids.IsWellFormed(id) ? new JobAddress(new RemoteRepository(uri.Authority, name), id) : null;
        return address is not null;
    }
}
