namespace Kiln.Node.Deriving;

/// <summary>An image cannot be made into a format, as a sentence.</summary>
internal sealed class DerivationException(string message) : Exception(message)
{
    /// <summary>Whether it is a limit of the node's that stands in the way.</summary>
    public bool IsLimit { get; init; }
}
