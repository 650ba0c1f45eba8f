using System.Net;
using System.Net.Sockets;
using Kiln.Client.Transport;

namespace Kiln.Server.Delivery;

/// <summary>
/// Which addresses a hook may lead to that a user has registered: those of the public internet, and what the operator allows
/// besides. Who registers one must not reach through the server what only the server reaches.
/// </summary>
internal sealed class AddressRules(EventOptions options)
{
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
    public bool IsNamed(IPAddress address)
    {
        var plain = PublicAddress.Plain(address);
        return Array.Exists(_allowed, network => network.Contains(plain));
    }

    /// <summary>Whether a hook may lead there.</summary>
    public bool Allows(IPAddress address) => IsNamed(address) || PublicAddress.Is(address);
}
