namespace Kiln.EndToEnd.Harness;

/// <summary>
/// A root file system with an old glibc, which is made once and kept in the user's cache (<c>eng/old-root.sh</c>), and the native file in it.
/// </summary>
public sealed class OldRoot
{
    private const string Script = """
        . eng/lib.sh
        . eng/newer-tools.sh
        . eng/old-root.sh
        cache=$(getent passwd "$(id -un)" | cut -d: -f6)/.cache/kiln-tests
        mkdir -p "$cache"
        exec 9>"$cache/old-root.lock"
        flock 9
        ensure_old_root "$cache/old-root" "$cache/old-root.log" || {
            tail -n 5 "$cache/old-root.log"
            exit 1
        }
        basename "$cache"/old-root/lib/x86_64-linux-gnu/libc-*.so .so
        printf '%s' "$cache/old-root"
        """;

    private readonly Machine _machine;
    private readonly Outcome? _made;

    public OldRoot(Machine machine)
    {
        _machine = machine;
        if (machine.Native is not null)
            _made = machine.RunAsUser("bash", "-uc", Script);
    }

    public bool IsThere => _made is { ExitCode: 0 };

    /// <summary>The glibc in it, as the name of its library says.</summary>
    public Version Glibc => Version.Parse(Lines[^2]["libc-".Length..]);

    /// <summary>The native file in it, as the first words of a command.</summary>
    public IReadOnlyList<string> Kiln => [_machine.In("eng/in-old-root"), Lines[^1], .. _machine.Kiln];

    private string[] Lines => _made!.Output.Split('\n');

    /// <summary>Skips the test, with a reason, where there is no native file or no such root.</summary>
    public void Needed()
    {
        _machine.NeedsNative();
        if (!IsThere)
            Assert.Skip($"NOT RUN: there is no root file system with an old glibc: {_made!.Output} {_made.Error}");
    }
}

/// <summary>The native file's <c>kiln serve</c> in that root.</summary>
public sealed class OldRootServer(Machine machine) : Server(machine)
{
    private readonly Machine _machine = machine;

    public OldRoot Root { get; } = new(machine);

    protected override IReadOnlyList<string> Program => Root.Kiln;

    public override ValueTask InitializeAsync() => Root.IsThere ? base.InitializeAsync() : ValueTask.CompletedTask;

    // The user namespace has one id: who is somebody else, root included, is nobody there, and nobody gets an answer.
    protected override Task<bool> AnswersAsync() =>
        Task.FromResult(
            _machine.RunAsUser("curl", "-fs", "-m", "5", "-o", "/dev/null", $"http://{Host}/v2/").ExitCode == 0
        );
}
