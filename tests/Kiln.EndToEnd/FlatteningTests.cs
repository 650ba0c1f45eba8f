using System.Text.Json.Nodes;
using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>A server whose builds have a single id, and that speaks TLS as well: Charliecloud speaks nothing else.</summary>
public sealed class FlatteningServer : Server
{
    private readonly Machine _machine;

    public FlatteningServer(Machine machine)
        : base(machine)
    {
        _machine = machine;
        SecureHost = $"127.0.0.1:{FreePort()}";
        string[] tls = ["--tls-cert", machine.In("tls/cert.pem"), "--tls-key", machine.In("tls/key.pem")];
        Options = machine.HasRange ? [.. tls, "--single-id"] : tls;
    }

    public string SecureHost { get; }

    protected override string Urls => $"http://{Host};https://{SecureHost}";

    protected override IReadOnlyList<string> Options { get; }

    public override async ValueTask InitializeAsync()
    {
        _machine
            .RunAsUser(
                "sh",
                "-euc",
                """
                mkdir -p tls
                openssl req -x509 -newkey rsa:2048 -nodes -days 3 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 \
                    -keyout tls/key.pem -out tls/cert.pem 2>tls/log
                """
            )
            .Ok();
        await base.InitializeAsync();
    }
}

/// <summary>
/// What the verdict on flattening says (docs/guide/hints.md), held against what the tools do that flatten: Charliecloud, and podman of
/// an account without subordinate ids.
/// </summary>
public sealed class FlatteningTests(Machine machine, FlatteningServer server) : IClassFixture<FlatteningServer>
{
    // Each path with its mode and owner, then what can be done with them.
    private const string Look = """
        for path in home/app/secret data opt/su opt/capable opt/shared opt/locked opt/closed opt/device opt/fifo; do
            [ ! -e /$path ] || stat -c "$path %a %u" /$path | sed "s/ $(id -u)\$/ mine/"
        done
        for path in home/app/secret opt/locked; do [ ! -e /$path ] || cat /$path || echo "$path cannot be read"; done
        for path in opt/su opt/capable; do [ ! -e /$path ] || /$path true && echo "$path runs" || echo "$path does not run"; done
        [ ! -d /data ] || chown 999 /data 2>/dev/null && echo given || echo not given
        """;

    private const string Charliecloud = """
        . eng/lib.sh
        . eng/newer-tools.sh
        . eng/charliecloud.sh
        cache=$(getent passwd "$(id -un)" | cut -d: -f6)/.cache/kiln-tests
        mkdir -p "$cache"
        ensure_charliecloud "$cache/charliecloud" || exit 77
        export CH_IMAGE_STORAGE=$PWD/ch
        # Its cache takes git.
        ch-image --no-cache --tls-no-verify pull "$1" >ch.log 2>&1 || { cat ch.log; exit 1; }
        ch-run "$1" -- sh -c "$2" 2>/dev/null
        """;
