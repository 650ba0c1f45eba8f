using System.Text.Json;
using System.Text.Json.Serialization;
using Kiln.BuildSpec;

namespace Kiln.Node.Launchers;

/// <summary>What a job is given: a lease, with its credential and its secrets, and how to build it. Never logged.</summary>
public sealed record JobHandover
{
    public required Lease Lease { get; init; }

    /// <summary>The registry, as <c>host[:port]</c>.</summary>
    public required string Server { get; init; }
    public IReadOnlyList<string> InsecureRegistries { get; init; } = [];

    /// <summary>The type of machine that was chosen, for messages.</summary>
    public required string Type { get; init; }

    /// <summary>Whether the type says that the build is to be emulated: only then it is, on whichever machine it is.</summary>
    public bool IsEmulated { get; init; }
    public string? Scratch { get; init; }
    public required long MemoryBytes { get; init; }
    public required long DiskBytes { get; init; }
    public required int Processes { get; init; }
    public required long MaxContextBytes { get; init; }
    public bool Unsafe { get; init; }
    public bool SingleId { get; init; }
    public bool AllowHostNetwork { get; init; }
    public string? ApptainerRoot { get; init; }

    /// <summary>
    /// Takes what a directory of <see cref="LaunchFolder"/> has for a job; null where it was taken before. Whichever job
    /// takes it builds, and no other: a job that is submitted or started twice does nothing the second time.
    /// </summary>
    public static JobHandover? Take(string directory)
    {
        var mine = Path.Combine(directory, $"taken-{Guid.NewGuid():n}.json");
        try
        {
            File.Move(Path.Combine(directory, LaunchFolder.HandoverName), mine);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }

        try
        {
            return JsonSerializer.Deserialize(File.ReadAllBytes(mine), LaunchJson.Default.JobHandover);
        }
        finally
        {
            // The lease's secrets must not outlive its build.
            File.Delete(mine);
        }
    }

    public override string ToString() => $"lease {Lease.Id} for {Server}";
}

/// <summary>What a launching node knows of a build that it has begun. Without the build's secrets.</summary>
internal sealed record LaunchRecord
{
    public required Lease Lease { get; init; }
    public required string Type { get; init; }

    /// <summary>The batch system's word for the job; null while it is not known whether it took one.</summary>
    public string? Job { get; init; }

    /// <summary>When it was handed to the batch system.</summary>
    public required DateTimeOffset Begun { get; init; }
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull
)]
[JsonSerializable(typeof(JobHandover))]
[JsonSerializable(typeof(LaunchRecord))]
internal sealed partial class LaunchJson : JsonSerializerContext;
