namespace Kiln.Server;

/// <summary>What an acknowledged write promises (docs/guide/storage.md).</summary>
public enum Durability
{
    /// <summary>It is on the disk: neither a crash nor a power cut loses it.</summary>
    Full,

    /// <summary>
    /// The operating system has it: a crash of the server loses nothing, a power cut or a crash of the machine may lose the last
    /// seconds, and bytes of blobs whose names are kept.
    /// </summary>
    Relaxed,
}
