using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Access.Guard;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Http;

/// <summary><c>GET /v2/</c>, and which extensions this registry has (distribution-spec, extensions/_oci.md).</summary>
internal sealed class DiscoveryEndpoints
{
    /// <summary>The name of the build extension.</summary>
    public const string Build = "_build";

    private static readonly byte[] Extensions = List("_build/v1/leases", "_build/v1/hooks", "_build/v1/hints");

    /// <summary>What is there in front of another registry: builds of its own node, of which no hook tells.</summary>
    public static byte[] InFront { get; } = List();

    public void Map(V2Router router) =>
        router
            .Map("GET", "", Need.Login with { Lease = LeaseUse.Anything }, Ping)
            .Map("GET", "_oci/ext/discover", Need.Login, Discover)
            .Map("GET", "{name}/_oci/ext/discover", Need.AnyRight, Discover);

    private static Task Ping(V2Context context) => context.WriteJsonAsync("{}"u8.ToArray());

    private static Task Discover(V2Context context) => context.WriteJsonAsync(Extensions);

    private static byte[] List(params IEnumerable<string> more) =>
        JsonSerializer.SerializeToUtf8Bytes(
            new ExtensionList([
                new ExtensionEntry(
                    "_oci",
                    "https://github.com/opencontainers/distribution-spec/blob/main/extensions/_oci.md",
                    "Extension discovery",
                    ["_oci/ext/discover"]
                ),
                new ExtensionEntry(
                    Build,
                    "https://github.com/kiln-registry/kiln/blob/main/spec/build-extension.md",
                    "Request and follow builds of container images",
                    ["_build/v1/info", "_build/v1/jobs", "_build/v1/secrets", .. more]
                ),
            ]),
            BuildJson.Default.ExtensionList
        );
}
