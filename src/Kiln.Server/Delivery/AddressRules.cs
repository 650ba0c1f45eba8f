using System.Net;
using System.Net.Sockets;

namespace Kiln.Server.Delivery;

/// <summary>
/// Which addresses a hook may lead to that a user has registered: those of the public internet, and what the operator allows
/// besides. Who registers one must not reach through the server what only the server reaches.
/// </summary>
internal sealed class AddressRules(EventOptions options)
{
    // IANA's registries of special-purpose addresses, what is not "globally reachable" in them, and multicast.
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
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
            "::/96",
            "64:ff9b:1::/48",
            "100::/64",
            "2001::/23",
            "2001:db8::/32",
            "3fff::/20",
            "5f00::/16",
            "fc00::/7",
            "fe80::/9",
            "ff00::/8",
        }.Select(text => IPNetwork.Parse(text)),
    ];

    // An IPv4 address stands in these: at which byte.
    private static readonly (IPNetwork Network, int Offset)[] Carriers =
    [
        (IPNetwork.Parse("64:ff9b::/96"), 12),
        (IPNetwork.Parse("2002::/16"), 2),
    ];

    private readonly IPNetwork[] _allowed =
    [
        .. options.AllowedAddresses.Select(text =>
            IPNetwork.TryParse(text, out var network) ? network
            : IPAddress.Parse(text) is var one && one.AddressFamily == AddressFamily.InterNetwork
                ? new IPNetwork(one, 32)
            : new IPNetwork(one, 128)
        ),
    ];

    /// <summary>Whether the operator allows the address by name.</summary>
    public bool IsNamed(IPAddress address) => Array.Exists(_allowed, network => network.Contains(Plain(address)));

    /// <summary>Whether a hook may lead there.</summary>
    public bool Allows(IPAddress address)
    {
        var plain = Plain(address);
        return IsNamed(plain) || !Array.Exists(Special, network => network.Contains(plain));
    }

    // What the address really leads to.
    private static IPAddress Plain(IPAddress address)
    {
        if (address.IsIPv4MappedToIPv6)
        {
            return address.MapToIPv4();
        }

        foreach (var (network, offset) in Carriers)
        {
            if (address.AddressFamily == AddressFamily.InterNetworkV6 && network.Contains(address))
            {
                return new IPAddress(address.GetAddressBytes().AsSpan(offset, 4));
            }
        }

        // A scope is no part of a network.
        return address.AddressFamily == AddressFamily.InterNetworkV6 && address.ScopeId != 0
            ? new IPAddress(address.GetAddressBytes())
            : address;
    }
}
