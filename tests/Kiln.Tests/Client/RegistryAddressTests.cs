using Kiln.Client.Transport;

namespace Kiln.Tests.Client;

public sealed class RegistryAddressTests
{
    [Theory]
    [InlineData("127.0.0.1:5000", "http://127.0.0.1:5000/")]
    [InlineData("127.9.9.9", "http://127.9.9.9/")]
    [InlineData("localhost:5000", "http://localhost:5000/")]
    [InlineData("[::1]:5000", "http://[::1]:5000/")]
    [InlineData("plain.example:5000", "http://plain.example:5000/")]
    [InlineData("quay.io", "https://quay.io/")]
    [InlineData("localhost.example:5000", "https://localhost.example:5000/")]
    [InlineData("127.0.0.1.example", "https://127.0.0.1.example/")]
    [InlineData("docker.io", "https://registry-1.docker.io/")]
    public void Only_loopback_and_named_registries_are_spoken_to_without_tls(string host, string expected) =>
        Assert.Equal(expected, RegistryAddress.Of(host, ["plain.example:5000"]).ToString());
}
