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
    // Of each path its mode, and the owner where that is not the one who looks; then what can be done.
    private const string Look = """
        cd /
        for path in home/app/secret data opt/su/busybox opt/capable/busybox opt/shared opt/closed opt/locked opt/device opt/fifo; do
            [ ! -e $path ] || stat -c "%n %a %u" $path | sed "s/ $(id -u)\$//"
        done
        for path in home/app/secret opt/locked; do
            [ ! -e $path ] || cat $path || echo "$path cannot be read"
        done
        for path in opt/su opt/capable; do
            [ ! -e $path ] || $path/busybox true || echo "$path does not run"
        done
        if [ -e data ]; then
            chown 999 data || echo 'nobody is 999'
        fi
        """;

    // ch-image says what went wrong in its log; its cache would take a git that knows the user's name.
    private const string Charliecloud = """
        . eng/lib.sh
        . eng/newer-tools.sh
        . eng/charliecloud.sh
        cache=$(getent passwd "$(id -un)" | cut -d: -f6)/.cache/kiln-tests
        mkdir -p "$cache"
        ensure_charliecloud "$cache/charliecloud" || exit 77
        export CH_IMAGE_STORAGE=$PWD/charliecloud
        ch-image --no-cache --tls-no-verify pull "$1" >charliecloud.log 2>&1 || { cat charliecloud.log; exit 1; }
        ch-run "$1" -- sh -c "$2" 2>/dev/null
        """;

    [Fact]
    public async Task Allowed_image_is_the_same_in_both()
    {
        // A device in /dev, and directories as Red Hat has them.
        var image = await new MadeImage(machine)
            .Directory("opt/closed", "555")
            .Device("dev/null")
            .PushAsync(server, "flatten/allow", Look);

        Assert.Equal("allow/allow", Verdict(image));
        // Charliecloud has its owner write it.
        Assert.Equal("opt/closed 755\n", InCharliecloud(image));
        Assert.Equal("opt/closed 555\n", InPodman(image));
    }

    [Fact]
    public async Task Caution_about_owners_is_about_who_is_no_longer_there()
    {
        var image = await new MadeImage(machine)
            .Directory("home/app", "700", 1000)
            .Text("home/app/secret", "mine\n", "600", 1000)
            .Directory("data", "755", 999)
            .PushAsync(server, "flatten/owners", Look);
        var other = await new MadeImage(machine) { User = "65534" }
            .Text("a", "x", "644")
            .PushAsync(server, "flatten/user", "echo started");

        const string Seen = "home/app/secret 600\ndata 755\nmine\nnobody is 999\n";
        Assert.Equal("caution/allow", Verdict(image));
        Assert.Equal(Seen, InCharliecloud(image));
        Assert.Equal("caution/allow", Verdict(other));
        Assert.Equal("started\n", InCharliecloud(other, "echo started"));
        Assert.Equal(Seen, InPodman(image));
        Assert.NotEqual(0, Podman(other).ExitCode);
        Assert.Equal("started\n", InPodman(other, "--user", "0"));
    }

    [Fact]
    public async Task Caution_about_modes_is_about_what_is_lost_or_no_longer_runs()
    {
        var image = await new MadeImage(machine)
            .Program("opt/su/busybox", "4755")
            .Capable("opt/capable/busybox")
            .Directory("opt/shared", "2775", group: 0)
            .Text("opt/locked", "locked\n", "000")
            .Device("opt/device")
            .Fifo("opt/fifo")
            .PushAsync(server, "flatten/modes", Look);

        Assert.Equal("allow/caution", Verdict(image));
        Assert.Equal(
            """
            opt/su/busybox 755
            opt/capable/busybox 755
            opt/shared 775
            opt/locked 600
            locked

            """,
            InCharliecloud(image)
        );
        Assert.Equal(
            """
            opt/su/busybox 4755
            opt/capable/busybox 755
            opt/shared 2775
            opt/locked 0
            opt/fifo 644
            locked
            opt/capable does not run

            """,
            InPodman(image)
        );
    }

    [Fact]
    public async Task Image_that_has_to_be_flattened_has_nothing_to_lose()
    {
        var from = BaseImages.Push(machine, server, BaseImages.Busybox(machine), "library/busybox:latest");
        var job = await Builds.BuildOkAsync(
            server,
            "flatten/required",
            "tag=1",
            $"""
            FROM {from}
            RUN mkdir -p /home/app /data /opt/su && echo mine >/home/app/secret && chmod 600 /home/app/secret
            RUN cp /bin/busybox /opt/su && chmod 4755 /opt/su/busybox && chown -R 1000:1000 /home/app && chown 999 /data
            CMD {new JsonArray("sh", "-c", Look).ToJsonString()}

            """
        );

        Assert.Equal("required", Builds.Text(job["tasks"]![0]!["hints"]!, "flattenOwnership"));
        const string Seen = "home/app/secret 600\ndata 755\nopt/su/busybox 755\nmine\nnobody is 999\n";
        var image = $"{server.Host}/flatten/required:1";
        Assert.Equal(Seen, InCharliecloud(image));
        Assert.Equal(Seen, InPodman(image));
    }

    private string Verdict(string image)
    {
        var hints = JsonNode.Parse(machine.RunKiln("inspect", "--hints", "--json", image).Ok().Output)!["flatten"]!;
        return $"{hints["ownership"]}/{hints["mode"]}";
    }

    private string InCharliecloud(string image, string script = Look)
    {
        var named = image.Replace(server.Host, server.SecureHost, StringComparison.Ordinal);
        var ran = machine.RunAsUser("bash", "-uc", Charliecloud, "charliecloud", named, script);
        if (ran.ExitCode == 77)
            Assert.Skip($"NOT RUN: Charliecloud cannot be had: {ran.Error}");
        return ran.Ok().Output;
    }

    private string InPodman(string image, params string[] options) => Podman(image, options).Ok().Output;

    // With a range podman gives files their owners. What is looked at before this has been looked at.
    private Outcome Podman(string image, params string[] options)
    {
        if (machine.HasRange)
            Assert.Skip(
                $"NOT RUN: podman of an account without subordinate ids, which {machine.User} has (./check as root)"
            );
        return machine.RunAsUser([machine.In("eng/run-image"), machine.In("podman"), image, .. options]);
    }
}
