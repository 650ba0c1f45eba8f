using System.Net;
using System.Net.Sockets;

namespace Kiln.Node.Fetching;

/// <summary>Which addresses anybody can reach, and which only this machine, this link or this site.</summary>
internal static class PublicAddress
{
    // IANA's special-purpose registries for IPv4 and IPv6: what is not globally reachable.
    private static readonly IPNetwork[] Special =
    [
        .. new[]
        {
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
            "::/96",
            "64:ff9b:1::/48",
            "100::/64",
            "2001:db8::/32",
            "2001::/32",
            "fc00::/7",
            "fe80::/10",
            "fec0::/10",
            "ff00::/8",
        }.Select(IPNetwork.Parse),
    ];

    // Addresses with an IPv4 address in them, and where that stands: NAT64 (RFC 6052) and 6to4 (RFC 3056).
    private static readonly (IPNetwork Network, int At)[] Embedding =
    [
        (IPNetwork.Parse("64:ff9b::/96"), 12),
        (IPNetwork.Parse("2002::/16"), 2),
    ];

    public static bool Is(IPAddress address)
    {
        var plain = address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address;
        if (plain.AddressFamily == AddressFamily.InterNetworkV6)
        {
            foreach (var (network, at) in Embedding)
            {
                if (network.Contains(plain))
                {
                    return Is(new IPAddress(plain.GetAddressBytes().AsSpan(at, 4)));
                }
            }
        }

        return !Special.Any(network => network.Contains(plain));
    }
}
