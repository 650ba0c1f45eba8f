using Kiln.Oci;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Access.Guard;

/// <summary>
/// Who may do what, where another registry says so, in front of which this server stands: it is asked with the caller's own
/// credentials, and nobody may do more here than there.
/// </summary>
internal interface IRightsBehind
{
    /// <summary>Lets a request through.</summary>
    /// <param name="repository">The repository of the path; null where it has none.</param>
    /// <exception cref="OciException">It may not be answered: 401 with the other registry's challenge, or 403.</exception>
    Task<Caller> AdmitAsync(HttpContext http, Need need, RepositoryName? repository);
}
