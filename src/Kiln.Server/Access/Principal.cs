namespace Kiln.Server.Access;

/// <summary>Who a request comes from.</summary>
/// <param name="Name">For example <c>uid:1000</c>; kept with what the request creates.</param>
internal sealed record Principal(string Name);
