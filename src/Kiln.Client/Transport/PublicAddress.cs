using System.Net;
using System.Net.Sockets;

namespace Kiln.Client.Transport;

/// <summary>
/// Which addresses anybody can reach, and which only this machine, this link or this site. Whoever lets strangers name
/// hosts asks here before it connects: there is no second list.
/// </summary>
public static class PublicAddress
{
    // IANA's registry of special-purpose IPv4 addresses, what is not "globally reachable" in it; multicast, and what is
    // reserved.
    private static readonly IPNetwork[] Special4 = Parse(
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3"
    );

    // Of IPv6, one eighth has been given out for global unicast; loopback, links, sites, multicast and whatever comes are in
    // the rest.
    private static readonly IPNetwork Global6 = IPNetwork.Parse("2000::/3");

    // IANA's registry for IPv6, what of that eighth is not globally reachable: protocols (Teredo, benchmarks, ORCHID) and
    // documentation.
    private static readonly IPNetwork[] Special6 = Parse("2001::/23", "2001:db8::/32", "3fff::/20");

    // Addresses with an IPv4 address in them, and where that stands: NAT64 (RFC 6052) and 6to4 (RFC 3056).
    private static readonly (IPNetwork Network, int At)[] Carriers =
    [
        (IPNetwork.Parse("64:ff9b::/96"), 12),
        (IPNetwork.Parse("2002::/16"), 2),
    ];

    /// <summary>Whether an address is one of the public internet.</summary>
    public static bool Is(IPAddress address)
    {
        var plain = Plain(address);
        return plain.AddressFamily == AddressFamily.InterNetwork
            ? !Array.Exists(Special4, network => network.Contains(plain))
            : Global6.Contains(plain) && !Array.Exists(Special6, network => network.Contains(plain));
    }

    /// <summary>What an address really leads to: the IPv4 address that it carries, or itself without its scope.</summary>
    public static IPAddress Plain(IPAddress address)
    {
        if (address.AddressFamily != AddressFamily.InterNetworkV6)
        {
            return address;
        }

        if (address.IsIPv4MappedToIPv6)
        {
            return address.MapToIPv4();
        }

        // A scope is no part of a network.
        var plain = address.ScopeId == 0 ? address : new IPAddress(address.GetAddressBytes());
        foreach (var (network, at) in Carriers)
        {
            if (network.Contains(plain))
            {
                return new IPAddress(plain.GetAddressBytes().AsSpan(at, 4));
            }
        }

        return plain;
    }

    private static IPNetwork[] Parse(params string[] networks) => Array.ConvertAll(networks, n => IPNetwork.Parse(n));
}
