using System.Net;

namespace Kiln.Client.Transport;

/// <summary>
/// A proxy resolves names itself, so that no rule can judge what it connects to. Where there is a rule, a proxy is used
/// only for hosts that the rule lets be anywhere; all others are connected to directly, and judged.
/// </summary>
/// <param name="inner">The proxy that is configured.</param>
internal sealed class GuardedProxy(IWebProxy inner, AddressRule rule) : IWebProxy
{
    public ICredentials? Credentials
    {
        get => inner.Credentials;
        set => inner.Credentials = value;
    }

    public Uri? GetProxy(Uri destination) => IsBypassed(destination) ? null : inner.GetProxy(destination);

    public bool IsBypassed(Uri host) => WhyNot(rule, host) is not null || inner.IsBypassed(host);

    /// <summary>Why a proxy may not be asked for a host; null where it may be at any address.</summary>
    public static string? WhyNot(AddressRule rule, Uri uri) =>
        rule($"{uri.IdnHost.Trim('[', ']')}:{uri.Port}", IPAddress.Any);
}
