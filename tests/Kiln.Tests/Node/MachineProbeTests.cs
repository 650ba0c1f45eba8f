using Kiln.Cli.Verbs;
using Kiln.Node;
using Kiln.Node.Machine;

namespace Kiln.Tests.Node;

/// <summary>What a node finds out of a machine, from files of other machines.</summary>
public sealed class MachineProbeTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("kiln-machine-").FullName;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Fact]
    public void Machine_with_everything_lacks_nothing()
    {
        Usual();
        Put(
            "proc/driver/nvidia/version",
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\nGCC version: 12.2\n"
        );
        Put("proc/driver/nvidia/gpus/0000:41:00.0/information", "Model: \t\t NVIDIA A100\nIRQ: 1\n");
        Put("proc/driver/nvidia/gpus/0000:c1:00.0/information", "Model: \t\t NVIDIA A100\nIRQ: 2\n");

        var facts = Read();
        Assert.Equal("linux/amd64/v3", facts.Platform);
        Assert.Equal("zen3", facts.Microarchitecture);
        Assert.Equal(2, facts.Cpus);
        Assert.Equal(16L << 30, facts.MemoryBytes);
        var gpus = Assert.Single(facts.Gpus);
        Assert.Equal(("nvidia", 2, "535.129.03"), (gpus.Vendor, gpus.Count, gpus.Driver));
        Assert.Equal(["NVIDIA A100"], gpus.Models);
        Assert.Empty(MachineNeeds.Of(facts, "builder"));

        var labels = MachineLabels.Of(facts);
        Assert.Equal("2 nvidia (NVIDIA A100), driver 535.129.03", labels["gpus"]);
        Assert.Equal("zen3", labels["microarchitecture"]);
        Assert.Equal("16 GiB", labels["memory"]);
        Assert.Equal(
            ("yes", "65536", "yes"),
            (labels["user-namespaces"], labels["subordinate-ids"], labels["overlay"])
        );
        Assert.Equal(facts.Kernel, labels["kernel"]);
    }

    [Fact]
    public void Cards_of_amd_count_where_their_driver_computes()
    {
        Usual();
        Put("sys/class/drm/card0/device/vendor", "0x1002\n");
        Put("sys/class/drm/card0-DP-1/device/vendor", "0x1002\n");
        Put("sys/class/drm/card1/device/vendor", "0x1a03\n");
        Assert.Empty(Read().Gpus);

        Put("dev/kfd", "");
        Put("sys/module/amdgpu/version", "6.3.6\n");
        var gpu = Assert.Single(Read().Gpus);
        Assert.Equal(("amd", 1, "6.3.6"), (gpu.Vendor, gpu.Count, gpu.Driver));
    }

    [Theory]
    [InlineData("proc/sys/user/max_user_namespaces", "0", "max_user_namespaces", true)]
    [InlineData("proc/sys/kernel/unprivileged_userns_clone", "0", "unprivileged_userns_clone", true)]
    [InlineData("proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "apparmor_restrict", true)]
    [InlineData("etc/subuid", "other:100000:65536\nbuilder:1:1000\n", "1000 user ids", false)]
    [InlineData("etc/subgid", "", "0 group ids", false)]
    [InlineData("proc/sys/kernel/osrelease", "4.18.0-553.el8.x86_64", "overlay", false)]
    [InlineData("proc/filesystems", "nodev\ttmpfs\n\text4\n", "overlay", false)]
    public void What_is_missing_is_said_with_what_to_do(string file, string content, string word, bool blocks)
    {
        Usual();
        Put(file, content);
        var need = Assert.Single(MachineNeeds.Of(Read(), "builder"));
        Assert.Contains(word, need.Missing, StringComparison.Ordinal);
        Assert.Equal(blocks, need.Blocks);
        Assert.NotEmpty(need.Remedy);
    }

    [Theory]
    [InlineData("usr/bin/newuidmap", "newuidmap")]
    [InlineData("sys/fs/cgroup/cgroup.controllers", "control groups")]
    public void So_is_a_file_that_is_not_there(string file, string word)
    {
        Usual();
        File.Delete(Path.Combine(_root, file));
        Assert.Contains(word, Assert.Single(MachineNeeds.Of(Read(), "builder")).Missing, StringComparison.Ordinal);
    }

    [Fact]
    public void Advice_names_what_a_site_could_enable_and_what_that_would_give()
    {
        Usual();
        Assert.Null(MachineNeeds.Advice(Read(), "builder"));

        Put("etc/subuid", "");
        Assert.Null(MachineNeeds.Advice(Read(), "builder"));

        Put("proc/sys/user/max_user_namespaces", "0");
        var both = MachineNeeds.Advice(Read(), "builder");
        Assert.Contains("user.max_user_namespaces=15000", both, StringComparison.Ordinal);
        Assert.Contains("keep their owners also: usermod --add-subuids", both, StringComparison.Ordinal);

        Put("proc/sys/user/max_user_namespaces", "1000");
        File.Delete(Path.Combine(_root, "proc/sys/kernel/seccomp/actions_avail"));
        var range = MachineNeeds.Advice(Read(), "builder");
        Assert.Contains("usermod --add-subuids", range, StringComparison.Ordinal);
        Assert.DoesNotContain("sysctl", range, StringComparison.Ordinal);
    }

    [Fact]
    public void Machine_that_says_nothing_is_no_fault()
    {
        var facts = Read();
        Assert.Equal("linux/amd64", facts.Platform);
        Assert.Null(facts.MemoryBytes);
        Assert.Empty(facts.Gpus);
        Assert.Contains(MachineNeeds.Of(facts, "builder"), n => n.Blocks);
    }

    [Fact]
    public void Report_for_people_says_what_is_missing_and_what_to_do()
    {
        Usual();
        Put("proc/sys/user/max_user_namespaces", "0");
        var facts = Read();
        using var text = new StringWriter();
        NodeProbe.Print(
            new NodeReport
            {
                Machine = facts,
                Programs = ["buildah 1.28.2"],
                Unavailable = "no",
                Missing = MachineNeeds.Of(facts, "builder"),
            },
            text
        );
        Assert.Contains("zen3", text.ToString(), StringComparison.Ordinal);
        Assert.Contains("nothing: no", text.ToString(), StringComparison.Ordinal);
        Assert.Contains("do: sysctl -w user.max_user_namespaces", text.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void Report_for_people_says_which_formats_are_made_and_what_the_others_take()
    {
        Usual();
        var abilities = new NodeAbilities
        {
            Engines = ["buildah 1.28.2"],
            Platforms = [Kiln.Oci.Platform.LinuxAmd64],
            RecipeTypes = ["dockerfile"],
            Networks = ["isolated"],
            Outputs = ["oci", "single-layer"],
            NoDefinitions = "there is no Apptainer in /opt/sid/usr/bin, which --apptainer-root names",
            NoFiles = "there is no mksquashfs of squashfs-tools 4.5 or later",
        };
        using var text = new StringWriter();
        NodeProbe.Print(
            new NodeReport
            {
                Machine = Read(),
                Programs = ["buildah 1.28.2"],
                Offer = BuildNode.ClaimOf("n", abilities),
                Missing = MachineNeeds.Of(abilities),
            },
            text
        );
        var lines = text.ToString().Split('\n');
        Assert.Contains(
            lines,
            l =>
                l.StartsWith("formats", StringComparison.Ordinal)
                && l.EndsWith("oci, single-layer", StringComparison.Ordinal)
        );
        Assert.Contains(
            lines,
            l =>
                l.StartsWith("missing: an Apptainer", StringComparison.Ordinal)
                && l.Contains("/opt/sid", StringComparison.Ordinal)
        );
        Assert.Contains(lines, l => l.StartsWith("missing: a mksquashfs", StringComparison.Ordinal));
        Assert.Contains("  without: no SIF and squashfs files are made of images", lines);
        Assert.Empty(MachineNeeds.Of(abilities with { NoDefinitions = null, NoFiles = null }));
    }

    // A zen3 of two processors where an ordinary account may do all that builds need.
    private void Usual()
    {
        const string processor =
            "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 7543\n"
            + "flags\t\t: fpu cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3 avx avx2 bmi1 bmi2 f16c fma movbe xsave aes pclmulqdq sse4a "
            + "fsgsbase rdseed adx sha_ni clzero clflushopt xsavec xsaveopt clwb vaes vpclmulqdq pku\n\n";
        Put("proc/cpuinfo", processor + processor.Replace(": 0\n", ": 1\n", StringComparison.Ordinal));
        Put("proc/meminfo", "MemTotal:       16777216 kB\nMemFree: 1 kB\n");
        Put("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n");
        Put("proc/sys/user/max_user_namespaces", "63000\n");
        Put("proc/filesystems", "nodev\ttmpfs\nnodev\toverlay\n");
        Put("proc/sys/kernel/seccomp/actions_avail", "kill allow\n");
        Put("etc/subuid", "builder:100000:65536\n");
        Put("etc/subgid", "builder:100000:65536\n");
        Put("usr/bin/newuidmap", "");
        Put("usr/bin/newgidmap", "");
        Put("dev/fuse", "");
        Put("sys/fs/cgroup/cgroup.controllers", "memory pids\n");
    }

    private MachineFacts Read() => MachineProbe.Read(new MachineRoot(_root), "amd64", "builder", 1000);

    private void Put(string file, string content)
    {
        var path = Path.Combine(_root, file);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, content);
    }
}
