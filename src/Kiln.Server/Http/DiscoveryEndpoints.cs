using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Access.Guard;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Http;

/// <summary><c>GET /v2/</c>, and which extensions this registry has (distribution-spec, extensions/_oci.md).</summary>
internal sealed class DiscoveryEndpoints
{
    private static readonly byte[] Extensions = JsonSerializer.SerializeToUtf8Bytes(
        new ExtensionList([
            new ExtensionEntry(
                "_oci",
                "https://github.com/opencontainers/distribution-spec/blob/main/extensions/_oci.md",
                "Extension discovery",
                ["_oci/ext/discover"]
            ),
            new ExtensionEntry(
                "_build",
                "https://github.com/kiln-registry/kiln/blob/main/spec/build-extension.md",
                "Request and follow builds of container images",
                ["_build/v1/info", "_build/v1/jobs", "_build/v1/secrets", "_build/v1/leases", "_build/v1/hooks"]
            ),
        ]),
        BuildJson.Default.ExtensionList
    );

    public void Map(V2Router router) =>
        router
            .Map("GET", "", Need.Login with { Lease = LeaseUse.Anything }, Ping)
            .Map("GET", "_oci/ext/discover", Need.Login, Discover)
            .Map("GET", "{name}/_oci/ext/discover", Need.AnyRight, Discover);

    private static Task Ping(V2Context context) => context.WriteJsonAsync("{}"u8.ToArray());

    private static Task Discover(V2Context context) => context.WriteJsonAsync(Extensions);
}
