using System.CommandLine;
using Kiln.Client;
using Kiln.Client.Builds;
using Kiln.Client.Credentials;
using Kiln.Client.Registry;

namespace Kiln.Cli.Verbs;

/// <summary>A verb's connection to registries, with its user's logins.</summary>
internal sealed class Connection : IDisposable
{
    private Connection(RegistryClient registry) => (Registry, Builds) = (registry, new BuildClient(registry));

    public RegistryClient Registry { get; }
    public BuildClient Builds { get; }

    /// <summary>The option that every verb with a connection has.</summary>
    public static Option<string[]> InsecureOption() =>
        new("--insecure-registry")
        {
            Description = "A registry, HOST[:PORT], that is spoken to without TLS. Loopback always is.",
            HelpName = "HOST",
        };

    public static Connection Open(Shell shell, string[]? insecure) =>
        new(
            new RegistryClient(
                new RegistryClientOptions
                {
                    InsecureRegistries = insecure ?? [],
                    Credentials = AuthFiles.OfUser(shell.Variable),
                    Time = shell.Time,
                }
            )
        );

    public void Dispose() => Registry.Dispose();
}
