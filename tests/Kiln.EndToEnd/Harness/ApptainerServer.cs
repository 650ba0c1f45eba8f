namespace Kiln.EndToEnd.Harness;

/// <summary>Apptainer: the machine's own, or that of a root file system of Debian sid, which is made once and kept.</summary>
public sealed class ApptainerRoot(Machine machine)
{
    private const string Script = """
        . eng/lib.sh
        . eng/newer-tools.sh
        . eng/apptainer-root.sh
        cache=$(getent passwd "$(id -un)" | cut -d: -f6)/.cache/kiln-tests
        mkdir -p "$cache"
        exec 9>"$cache/apptainer-root.lock"
        flock 9
        ensure_apptainer_root "$(id -un)" "$cache/apptainer-root" "$cache/apptainer-root.log" || {
            tail -n 5 "$cache/apptainer-root.log"
            exit 1
        }
        printf '%s' "$cache/apptainer-root"
        """;

    private readonly Outcome _made = machine.RunAsUser("bash", "-uc", Script);

    /// <summary>What <c>kiln serve</c> and <c>kiln node</c> are told of it.</summary>
    public IReadOnlyList<string> Options => _made.ExitCode == 0 ? ["--apptainer-root", Root] : [];

    private string Root => _made.Output.Split('\n')[^1];

    /// <summary>Skips the test, with a reason, where Apptainer is not to be had.</summary>
    public void Needs()
    {
        if (_made.ExitCode != 0)
            Assert.Skip($"NOT RUN: there is no root file system with Apptainer: {_made.Output} {_made.Error}");
    }

    /// <summary>Runs Apptainer itself, as a user of the registry would.</summary>
    public Outcome Run(params string[] arguments) => RunBeside(["apptainer", "--nocolor", .. arguments]);

    /// <summary>Runs any program that is where Apptainer is.</summary>
    public Outcome RunBeside(params string[] command) =>
        machine.RunAsUser([machine.In("eng/in-apptainer-root"), Root, .. command]);
}

/// <summary>A server with Apptainer.</summary>
public sealed class ApptainerServer : Server
{
    private readonly ApptainerRoot _root;

    public ApptainerServer(Machine machine)
        : base(machine)
    {
        _root = new ApptainerRoot(machine);
    }

    protected override IReadOnlyList<string> Options => _root.Options;

    /// <inheritdoc cref="ApptainerRoot.Needs"/>
    public void NeedsApptainer() => _root.Needs();

    /// <inheritdoc cref="ApptainerRoot.Run"/>
    public Outcome Apptainer(params string[] arguments) => _root.Run(arguments);
}
