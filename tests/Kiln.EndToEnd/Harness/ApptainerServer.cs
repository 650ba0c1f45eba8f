namespace Kiln.EndToEnd.Harness;

/// <summary>A server with Apptainer: the machine's own, or that of a root file system of Debian sid, which is made once and kept.</summary>
public sealed class ApptainerServer : Server
{
    private const string Script = """
        . eng/lib.sh
        . eng/newer-tools.sh
        . eng/apptainer-root.sh
        cache=$(getent passwd "$(id -un)" | cut -d: -f6)/.cache/kiln-tests
        mkdir -p "$cache"
        ensure_apptainer_root "$(id -un)" "$cache/apptainer-root" "$cache/apptainer-root.log" || {
            tail -n 5 "$cache/apptainer-root.log"
            exit 1
        }
        printf '%s' "$cache/apptainer-root"
        """;

    private readonly Machine _machine;
    private readonly Outcome _made;

    public ApptainerServer(Machine machine)
        : base(machine)
    {
        _machine = machine;
        _made = machine.RunAsUser("bash", "-uc", Script);
    }

    protected override IReadOnlyList<string> Options => _made.ExitCode == 0 ? ["--apptainer-root", Root] : [];

    private string Root => _made.Output.Split('\n')[^1];

    /// <summary>Skips the test, with a reason, where Apptainer is not to be had.</summary>
    public void NeedsApptainer()
    {
        if (_made.ExitCode != 0)
            Assert.Skip($"NOT RUN: there is no root file system with Apptainer: {_made.Output} {_made.Error}");
    }

    /// <summary>Runs Apptainer itself, as a user of the registry would.</summary>
    public Outcome Apptainer(params string[] arguments) =>
        _machine.RunAsUser([_machine.In("eng/in-apptainer-root"), Root, "apptainer", "--nocolor", .. arguments]);
}
