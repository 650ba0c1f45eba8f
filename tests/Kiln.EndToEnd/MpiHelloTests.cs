using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>The sample that <c>./try</c> shows: Debian packages and C source in, a running MPI program out.</summary>
public sealed class MpiHelloTests(Machine machine, Server server) : IClassFixture<Server>
{
    [Fact]
    public void Sample_is_compiled_in_the_build_and_its_ranks_say_hello()
    {
        var debian = BaseImages.Push(machine, server, BaseImages.Debian(machine), "library/debian:base");
        var image = $"{server.Host}/demo/mpi-hello:1.0";

        machine.RunKiln("build", "-t", image, "--build-arg", $"BASE={debian}", machine.In("samples/mpi-hello")).Ok();
        var output = Builds.RunImage(machine, image);

        Assert.Contains("Hello from rank 0 of 2", output, StringComparison.Ordinal);
        Assert.Contains("Hello from rank 1 of 2", output, StringComparison.Ordinal);
        Assert.Contains("The ranks add up to 1", output, StringComparison.Ordinal);
    }
}
