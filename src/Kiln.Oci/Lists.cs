using System.Text.Json.Serialization;

namespace Kiln.Oci;

/// <summary>The answer to <c>GET /v2/NAME/tags/list</c> (distribution-spec, "Listing Tags").</summary>
public sealed record TagList(
    [property: JsonPropertyName("name")] string Name,
    [property: JsonPropertyName("tags")] IReadOnlyList<string> Tags
);

/// <summary>The answer to <c>GET /v2/_catalog</c>, which clients know from Docker's registry.</summary>
public sealed record RepositoryList([property: JsonPropertyName("repositories")] IReadOnlyList<string> Repositories);
