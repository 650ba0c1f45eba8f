using System.Text.Json.Serialization;
using Kiln.BuildSpec.Products;
using Kiln.BuildSpec.Recipes;

namespace Kiln.BuildSpec;

/// <summary>Serialisation of the extension's words, generated at compile time.</summary>
[JsonSourceGenerationOptions(
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    // Two readers could take it for two different requests.
    AllowDuplicateProperties = false,
    RespectNullableAnnotations = true,
    RespectRequiredConstructorParameters = true
)]
[JsonSerializable(typeof(JobRequest))]
[JsonSerializable(typeof(Job))]
[JsonSerializable(typeof(JobList))]
[JsonSerializable(typeof(JobResult))]
[JsonSerializable(typeof(BuildInfo))]
[JsonSerializable(typeof(ExtensionList))]
[JsonSerializable(typeof(LeaseClaim))]
[JsonSerializable(typeof(Lease))]
[JsonSerializable(typeof(LeaseHeartbeat))]
[JsonSerializable(typeof(LeaseHeartbeatReply))]
[JsonSerializable(typeof(LeaseResult))]
[JsonSerializable(typeof(LeaseResultReply))]
[JsonSerializable(typeof(ImageHints))]
[JsonSerializable(typeof(HintsDocument))]
[JsonSerializable(typeof(SecretReceipt))]
[JsonSerializable(typeof(ProvenanceStatement))]
[JsonSerializable(typeof(SigstoreBundle))]
[JsonSerializable(typeof(BuildEvidence))]
[JsonSerializable(typeof(FlattenReport))]
[JsonSerializable(typeof(DerivationPlan))]
[JsonSerializable(typeof(Hook))]
[JsonSerializable(typeof(HookFilter))]
[JsonSerializable(typeof(HookList))]
[JsonSerializable(typeof(IReadOnlyList<BuildStep>))]
[JsonSerializable(typeof(IReadOnlyList<ResolvedDependency>))]
[JsonSerializable(typeof(IReadOnlyList<string>))]
[JsonSerializable(typeof(SortedDictionary<string, string>))]
[JsonSerializable(typeof(string))]
public sealed partial class BuildJson : JsonSerializerContext;
