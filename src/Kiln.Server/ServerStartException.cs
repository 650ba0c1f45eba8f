namespace Kiln.Server;

/// <summary>Why the server does not start, in a sentence for the person who started it.</summary>
public sealed class ServerStartException(string message, Exception? inner = null) : Exception(message, inner);
