using System.Text.RegularExpressions;
using System.Xml.Linq;

namespace Kiln.Tests.Architecture;

/// <summary>
/// Who may know whom (docs/architecture.md, "The houses"). An arrow that is not in these tables is a decision: make it
/// here, in the same change, with its reason.
/// </summary>
public sealed partial class ArrowTests
{
    /// <summary>Projects, and those that each may reference.</summary>
    private static readonly Dictionary<string, string[]> Projects = new(StringComparer.Ordinal)
    {
        ["Kiln.Oci"] = [],
        ["Kiln.BuildSpec"] = ["Kiln.Oci"],
        ["Kiln.Inspect"] = ["Kiln.Oci"],
        // Inspect: archives that are imported are read with the same guards as layers.
        ["Kiln.Client"] = ["Kiln.Oci", "Kiln.BuildSpec", "Kiln.Inspect"],
        ["Kiln.Node"] = ["Kiln.Oci", "Kiln.BuildSpec", "Kiln.Client", "Kiln.Inspect"],
        ["Kiln.Server"] = ["Kiln.Oci", "Kiln.BuildSpec", "Kiln.Client", "Kiln.Inspect", "Kiln.Node"],
        // It judges the others: what it had from them, it could not find wrong.
        ["Kiln.Conformance"] = [],
        ["Kiln.Cli"] =
        [
            "Kiln.Oci",
            "Kiln.BuildSpec",
            "Kiln.Client",
            "Kiln.Inspect",
            "Kiln.Node",
            "Kiln.Server",
            "Kiln.Conformance",
        ],
    };

    /// <summary>Folders of the server, and those that each may use. A folder always knows itself.</summary>
    private static readonly Dictionary<string, string[]> ServerFolders = new(StringComparer.Ordinal)
    {
        ["Http"] = ["Access", "Registry", "Builds", "Front", "Audit", "Collection", "Metering", "Delivery"],
        // The registry behind stands in for what is kept here: it says who may, has the recipes, and takes the products; each
        // of those who need that has an interface for it, and knows nobody. Metadata: what is on its way there is a row.
        ["Front"] = ["Access", "Registry", "Builds", "Metadata", "Metering"],
        // Storage and Metadata: keys are files, machine tokens are rows. Configuration: the policy is a file of the same kind.
        ["Access"] = ["Registry", "Storage", "Metadata", "Audit", "Configuration", "Metering"],
        // Storage: what a lease pushes is in no repository yet, so the registry's operations cannot hold it.
        ["Builds"] = ["Registry", "Storage", "Metadata", "Audit", "Metering", "Delivery"],
        // What leaves goes through the registry's own operations; Metadata: what is to go is found by its rows.
        ["Collection"] = ["Registry", "Metadata", "Audit"],
        // Configuration: rules, and which repositories of an upstream may be pulled, are patterns of names.
        ["Registry"] = ["Storage", "Metadata", "Configuration", "Metering", "Delivery"],
        // A bucket has neither locks nor transactions: whose an upload is stands in rows.
        ["Storage"] = ["Metadata"],
        ["Metadata"] = ["Metering"],
        // What is counted: a leaf that everybody tells, and that knows nobody.
        ["Metering"] = [],
        // What others are told, written where it happens. Configuration: webhooks name repositories by patterns.
        ["Delivery"] = ["Metadata", "Configuration", "Metering"],
        // How the server is watched and ended: it looks at database and storage, and asks nobody else.
        ["Operation"] = ["Storage", "Metadata", "Metering"],
        // What the registry notes in the outbox, the journal brings into segments; it makes the registry's rows anew from them.
        ["Journal"] = ["Registry", "Storage", "Metadata"],
        // Holds everything that is kept against everything else that is kept.
        ["Checking"] = ["Journal", "Registry", "Storage", "Metadata"],
        ["Audit"] = [],
        // How operators' files are read: a leaf that whoever has such a file may use. Its sections set the options of the
        // server's root, and know nothing of those who obey them.
        ["Configuration"] = [],
    };

    /// <summary>Folders of the node, and those that each may use.</summary>
    private static readonly Dictionary<string, string[]> NodeFolders = new(StringComparer.Ordinal)
    {
        // What starts builds: in this process, or by a batch system whose jobs speak HTTP to the registry themselves.
        // Machine: what this process builds for is what its processor can.
        // Deriving: what it offers beside images is what the machine's programs make.
        ["Launchers"] = ["Engines", "Fetching", "Sandbox", "Remote", "Machine", "Deriving"],
        ["Machine"] = ["Sandbox"],
        ["Fetching"] = ["Engines"],
        ["Publishing"] = ["Engines"],
        // What is made of finished images: no engine's matter. Sandbox: programs of the machine, and what they may use.
        ["Deriving"] = ["Sandbox"],
        ["Remote"] = [],
        // Remote: blobs are spooled in the same way. Publishing: what an image is good for is judged where a registry would.
        ["Notifications"] = ["Remote", "Publishing"],
        ["Engines"] = ["Sandbox"],
        ["Sandbox"] = [],
    };

    [Fact]
    public void Project_references_follow_the_allowed_arrows()
    {
        var broken =
            from file in Directory.EnumerateFiles(
                Path.Combine(SourceTree.Root, "src"),
                "*.csproj",
                SearchOption.AllDirectories
            )
            let project = Path.GetFileNameWithoutExtension(file)
            from reference in XDocument.Load(file).Descendants("ProjectReference")
            let target = Path.GetFileNameWithoutExtension(reference.Attribute("Include")!.Value)
            where !Projects.TryGetValue(project, out var allowed) || !allowed.Contains(target, StringComparer.Ordinal)
            select $"{project} -> {target}";

        Assert.Empty(broken);
    }

    /// <summary>References are transitive in MSBuild; the text of a project still names only what its row allows.</summary>
    [Fact]
    public void Source_of_a_project_names_only_projects_that_it_may_reference()
    {
        var broken =
            from file in SourceTree.CSharpFiles("src")
            let project = SourceTree.Relative(file).Split(Path.DirectorySeparatorChar)[1]
            from name in NamesIn(file)
            let target = Projects.Keys.FirstOrDefault(key => IsInside(name, key))
            where target is not null && target != project && !Projects[project].Contains(target, StringComparer.Ordinal)
            select $"{SourceTree.Relative(file)} names {name}";

        Assert.Empty(broken);
    }

    [Fact]
    public void Folders_of_the_server_follow_a_request_downwards() =>
        Assert.Empty(BrokenBetweenFolders("Kiln.Server", ServerFolders));

    [Fact]
    public void Folders_of_the_node_follow_a_task_downwards() =>
        Assert.Empty(BrokenBetweenFolders("Kiln.Node", NodeFolders));

    private static IEnumerable<string> BrokenBetweenFolders(string project, Dictionary<string, string[]> table) =>
        from file in SourceTree.CSharpFiles(Path.Combine("src", project))
        let parts = SourceTree.Relative(file).Split(Path.DirectorySeparatorChar)
        where parts.Length > 3 && table.ContainsKey(parts[2])
        let folder = parts[2]
        from name in NamesIn(file)
        let target = table.Keys.FirstOrDefault(key => IsInside(name, $"{project}.{key}"))
        where target is not null && target != folder && !table[folder].Contains(target, StringComparer.Ordinal)
        select $"{SourceTree.Relative(file)} names {name}";

    private static bool IsInside(string name, string prefix) =>
        name == prefix || name.StartsWith(prefix + ".", StringComparison.Ordinal);

    /// <summary>Every dotted name that starts with Kiln, in code (not in comments, and not the file's own namespace).</summary>
    private static IEnumerable<string> NamesIn(string file) =>
        File.ReadLines(file)
            .Select(line => line.TrimStart())
            .Where(line =>
                !line.StartsWith("//", StringComparison.Ordinal)
                && !line.StartsWith("namespace ", StringComparison.Ordinal)
            )
            .SelectMany(line => KilnName().Matches(line).Select(match => match.Value));

    [GeneratedRegex(@"\bKiln(\.[A-Z]\w*)+")]
    private static partial Regex KilnName();
}
