using System.Net;
using Kiln.Client.Credentials;

namespace Kiln.Client;

/// <summary>Why no connection may be made to one of the addresses of a host, as a sentence; null where one may.</summary>
/// <param name="host">As <c>host:port</c>.</param>
/// <param name="address">What its name stands for now.</param>
public delegate string? AddressRule(string host, IPAddress address);

/// <summary>How to speak to registries.</summary>
public sealed record RegistryClientOptions
{
    /// <summary>Registries, as <c>host[:port]</c>, that are spoken to without TLS. Loopback always is.</summary>
    public IReadOnlyList<string> InsecureRegistries { get; init; } = [];

    /// <summary>Where registries answer that do so elsewhere than at their names: the root of their API, without <c>/v2/</c>.</summary>
    public IReadOnlyDictionary<string, Uri> Addresses { get; init; } = new Dictionary<string, Uri>();

    /// <summary>
    /// Whether uploads and lists go on at the address that was called, with its login, by whatever name a registry calls
    /// itself in <c>Location</c> and <c>Link</c>: it need not know where it is called from here.
    /// </summary>
    public bool StaysAtAddress { get; init; }

    /// <summary>
    /// Which addresses may be connected to, redirects and token servers included; null is all. A name is resolved once
    /// for a connection, so that what was judged is what is connected to. A proxy resolves names itself: it is asked only for
    /// hosts that the rule lets be at any address (the rule's word on 0.0.0.0); all others are connected to directly.
    /// </summary>
    public AddressRule? MayConnect { get; init; }

    /// <summary>The proxy to go through, for all but loopback; null is what the environment says (<c>HTTPS_PROXY</c>).</summary>
    public IWebProxy? Proxy { get; init; }

    /// <summary>Who to be; nobody by default.</summary>
    public ICredentialSource Credentials { get; init; } = NoCredentials.Instance;

    /// <summary>
    /// Credentials for one registry that are sent with every request, whether it asks for them or not; null waits to be
    /// asked.
    /// </summary>
    public PresetLogin? Preset { get; init; }

    public TimeProvider Time { get; init; } = TimeProvider.System;

    public TimeSpan ConnectTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Longest silence, before an answer and within one. Above every wait that a registry may be asked for.</summary>
    public TimeSpan IdleTimeout { get; init; } = TimeSpan.FromSeconds(90);

    /// <summary>How often a request is tried in all, where trying again is safe.</summary>
    public int Attempts { get; init; } = 5;

    /// <summary>Pages that a list may have; a longer one is an error.</summary>
    public int MaxListPages { get; init; } = 10_000;

    /// <summary>The first pause between two tries; each further one is twice as long, up to 10 seconds.</summary>
    public TimeSpan FirstPause { get; init; } = TimeSpan.FromMilliseconds(250);
}

/// <summary>Credentials that need no asking: a machine's token, a lease's, a user's with a password.</summary>
/// <param name="Host">The only registry that gets to see them, <c>host[:port]</c>.</param>
/// <param name="Scheme"><c>Bearer</c> or <c>Basic</c>.</param>
public sealed record PresetLogin(string Host, string Scheme, string Value)
{
    /// <summary>Other names of the same registry.</summary>
    public IReadOnlyList<string> Aliases { get; init; } = [];

    /// <summary>Whether a host gets to see them.</summary>
    public bool IsFor(string host) => host == Host || Aliases.Contains(host, StringComparer.OrdinalIgnoreCase);

    public override string ToString() => $"credentials for {Host}";
}
