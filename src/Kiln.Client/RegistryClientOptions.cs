using Kiln.Client.Credentials;

namespace Kiln.Client;

/// <summary>How to speak to registries.</summary>
public sealed record RegistryClientOptions
{
    /// <summary>Registries, as <c>host[:port]</c>, that are spoken to without TLS. Loopback always is.</summary>
    public IReadOnlyList<string> InsecureRegistries { get; init; } = [];

    /// <summary>Who to be; nobody by default.</summary>
    public ICredentialSource Credentials { get; init; } = NoCredentials.Instance;

    public TimeProvider Time { get; init; } = TimeProvider.System;

    public TimeSpan ConnectTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Longest silence, before an answer and within one. Above every wait that a registry may be asked for.</summary>
    public TimeSpan IdleTimeout { get; init; } = TimeSpan.FromSeconds(90);

    /// <summary>How often a request is tried in all, where trying again is safe.</summary>
    public int Attempts { get; init; } = 5;

    /// <summary>The first pause between two tries; each further one is twice as long, up to 10 seconds.</summary>
    public TimeSpan FirstPause { get; init; } = TimeSpan.FromMilliseconds(250);
}
