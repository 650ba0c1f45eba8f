namespace Kiln.Cli;

/// <summary>What <c>kiln</c> ends with.</summary>
internal static class ExitCodes
{
    public const int Ok = 0;

    /// <summary>The recipe is at fault.</summary>
    public const int RecipeFailed = 1;

    /// <summary>A registry does not do what it has to.</summary>
    public const int NotConformant = 1;

    /// <summary>An image is not what it has to be, or nothing says how it was made.</summary>
    public const int NotVerified = 1;

    /// <summary>The command was not understood, or names something that is not there.</summary>
    public const int Usage = 2;

    /// <summary>The registry could not be reached, does not allow it, or cannot do it.</summary>
    public const int NotPossible = 3;
    public const int Canceled = 4;
}
