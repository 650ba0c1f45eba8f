namespace Kiln.Server.Access;

/// <summary>How the server decides who may do what.</summary>
internal enum AccessMode
{
    /// <summary>The server's own user and root may do everything, over loopback.</summary>
    OwnUser,

    /// <summary>Everybody may do everything (<c>--insecure-anonymous</c>).</summary>
    Everybody,

    /// <summary>A policy file says (<c>--policy</c>).</summary>
    Policy,

    /// <summary>The registry behind says (<c>--upstream</c>): it is asked with the caller's own credentials.</summary>
    Behind,
}
