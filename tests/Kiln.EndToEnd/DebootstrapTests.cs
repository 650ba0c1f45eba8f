using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>A definition that starts from Debian's packages, with the real debootstrap: minutes, for <c>./check --long</c>.</summary>
[Trait("time", "long")]
public sealed class DebootstrapTests(Machine machine, ApptainerServer server) : IClassFixture<ApptainerServer>
{
    [Fact]
    public void Definition_starts_from_the_packages_of_a_mirror()
    {
        server.NeedsApptainer();
        var mirror = machine.RunAsUser("bash", "-euc", ". eng/newer-tools.sh; debian_mirror").Ok().Output.Trim();
        var file = machine.WriteFile(
            $$"""
            Bootstrap: debootstrap
            OSVersion: bookworm
            MirrorURL: {{mirror}}

            %post
                dpkg-query -W -f='${Status}\n' base-files >/made

            %runscript
                cat /made
            """,
            "debootstrap",
            "debian.def"
        );
        var image = $"{server.Host}/def/debootstrap:1";

        machine.RunKiln("build", "--progress", "plain", "-t", image, file).Ok();

        Assert.Contains(
            "install ok installed",
            server.Apptainer("run", "--containall", $"docker://{image}").Ok().Output,
            StringComparison.Ordinal
        );
    }
}
