using Xunit.v3;

namespace Kiln.Tests;

/// <summary>
/// Marks a test of what is refused, or found out, before any state is looked at. The run on PostgreSQL and a bucket leaves it
/// out: whatever the state is kept in, the answer is the same code's.
/// </summary>
[AttributeUsage(AttributeTargets.Class | AttributeTargets.Method)]
internal sealed class StatelessAttribute : Attribute, ITraitAttribute
{
    public IReadOnlyCollection<KeyValuePair<string, string>> GetTraits() => [new("state", "none")];
}
