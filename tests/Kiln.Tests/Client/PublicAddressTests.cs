using System.Net;
using Kiln.Client.Transport;

namespace Kiln.Tests.Client;

public sealed class PublicAddressTests
{
    [Theory]
    [InlineData("1.1.1.1")]
    [InlineData("93.184.216.34")]
    [InlineData("100.63.255.255")]
    [InlineData("100.128.0.0")]
    [InlineData("172.15.255.255")]
    [InlineData("172.32.0.0")]
    [InlineData("198.17.255.255")]
    [InlineData("198.20.0.0")]
    [InlineData("223.255.255.255")]
    [InlineData("2606:4700::1111")]
    [InlineData("2001:4860:4860::8888")]
    // An IPv4 address that is public: mapped, by NAT64, by 6to4.
    [InlineData("::ffff:1.1.1.1")]
    [InlineData("64:ff9b::101:101")]
    [InlineData("2002:101:101::1")]
    public void Anybody_can_reach(string address) => Assert.True(PublicAddress.Is(IPAddress.Parse(address)));

    [Theory]
    // Loopback, and what a kernel takes for it.
    [InlineData("127.0.0.1")]
    [InlineData("127.255.255.254")]
    [InlineData("::1")]
    [InlineData("0.0.0.0")]
    [InlineData("0.1.2.3")]
    [InlineData("::")]
    // Private.
    [InlineData("10.0.0.1")]
    [InlineData("172.16.0.1")]
    [InlineData("172.31.255.255")]
    [InlineData("192.168.255.255")]
    [InlineData("fc00::1")]
    [InlineData("fdff::1")]
    // Of this link or site, with a scope too.
    [InlineData("169.254.169.254")]
    [InlineData("fe80::1")]
    [InlineData("fe80::1%1")]
    [InlineData("febf::1")]
    [InlineData("fec0::1")]
    // Carriers' NAT.
    [InlineData("100.64.0.0")]
    [InlineData("100.127.255.255")]
    // Protocols: IETF, 6to4 relays, discard, ORCHID, segment routing.
    [InlineData("192.0.0.8")]
    [InlineData("192.88.99.1")]
    [InlineData("100::1")]
    [InlineData("2001:20::1")]
    [InlineData("5f00::1")]
    // Benchmarks.
    [InlineData("198.18.0.1")]
    [InlineData("198.19.255.255")]
    [InlineData("2001:2::1")]
    // Documentation.
    [InlineData("192.0.2.1")]
    [InlineData("198.51.100.1")]
    [InlineData("203.0.113.1")]
    [InlineData("2001:db8::1")]
    [InlineData("3fff::1")]
    // Multicast, reserved, broadcast.
    [InlineData("224.0.0.1")]
    [InlineData("239.255.255.255")]
    [InlineData("240.0.0.1")]
    [InlineData("255.255.255.255")]
    [InlineData("ff02::1")]
    // Not given out.
    [InlineData("4000::1")]
    // An IPv4 address inside: mapped, compatible, translated, by NAT64 (known prefix and local ones), by 6to4, by Teredo.
    [InlineData("::ffff:127.0.0.1")]
    [InlineData("::ffff:10.0.0.1")]
    [InlineData("::ffff:0.0.0.0")]
    [InlineData("::127.0.0.1")]
    [InlineData("::1.1.1.1")]
    [InlineData("::ffff:0:127.0.0.1")]
    [InlineData("64:ff9b::7f00:1")]
    [InlineData("64:ff9b::a00:1")]
    [InlineData("64:ff9b:1::101:101")]
    [InlineData("2002:7f00:1::1")]
    [InlineData("2002:a9fe:a9fe::1")]
    [InlineData("2001:0:4136:e378:8000:63bf:80ff:fffe")]
    public void Only_this_machine_link_or_site_can_reach(string address) =>
        Assert.False(PublicAddress.Is(IPAddress.Parse(address)));
}
