using Kiln.BuildSpec;
using Kiln.Oci;

namespace Kiln.Tests.Node;

/// <summary>What a node gets, for tests that only need some of it.</summary>
internal static class NodeSamples
{
    public static Lease Lease { get; } =
        new()
        {
            Id = "l1",
            Execution = "e1",
            Repository = "hpc/app",
            Attempt = 1,
            HeartbeatSeconds = 1,
            Task = new LeaseTask
            {
                Platform = Platform.LinuxAmd64,
                Format = BuildOutput.Oci,
                RecipeType = RecipeTypes.Dockerfile,
                Recipe = new Descriptor
                {
                    MediaType = BuildMediaTypes.Dockerfile,
                    Digest = Digest.EmptyJson,
                    Size = 2,
                },
                Network = NetworkModes.None,
                TimeoutSeconds = 60,
            },
        };
}
