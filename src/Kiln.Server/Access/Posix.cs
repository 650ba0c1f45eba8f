using System.Runtime.InteropServices;

namespace Kiln.Server.Access;

/// <summary>The calls of Linux that .NET has no name for.</summary>
internal static partial class Posix
{
    /// <summary>The user id that this process acts as.</summary>
    [LibraryImport("libc", EntryPoint = "geteuid")]
    public static partial uint EffectiveUid();
}
