using Kiln.BuildSpec;
using Kiln.Node;
using Kiln.Oci;
using Microsoft.Extensions.Logging.Abstractions;

namespace Kiln.Tests.Node;

/// <summary>What a build says while it runs: in order, without losing its lease or a word.</summary>
public sealed class BuildReportTests
{
    private static readonly Lease Lease = NodeSamples.Lease;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_build_that_never_stops_printing_keeps_its_lease_and_hears_of_its_cancel()
    {
        var coordinator = new TestCoordinator { Canceled = true };
        using var report = new BuildReport(Lease, coordinator, TimeProvider.System, NullLogger.Instance);
        var reporting = report.RunAsync();
        using var late = new CancellationTokenSource(TimeSpan.FromMinutes(2));
        while (!report.Canceled.IsCancellationRequested && !late.IsCancellationRequested)
        {
            report.Log("a line\n"u8);
            await Task.Delay(10, Cancel);
        }

        await report.FinishAsync(reporting);
        Assert.True(report.Canceled.IsCancellationRequested);
    }

    [Fact]
    public async Task What_could_not_be_said_is_said_later_and_in_order()
    {
        var coordinator = new TestCoordinator { Fault = new IOException("the disk is full") };
        using var report = new BuildReport(Lease, coordinator, TimeProvider.System, NullLogger.Instance);
        var reporting = report.RunAsync();
        report.Log("one\n"u8);
        report.Phase(BuildPhases.Building);
        while (coordinator.Heartbeats == 0 && !reporting.IsCompleted)
        {
            coordinator.Fault = coordinator.Fault is null ? new IOException("again") : null;
            report.Log("x"u8);
            await Task.Delay(10, Cancel);
        }

        coordinator.Fault = null;
        report.Log("\ntwo\n"u8);
        await report.FinishAsync(reporting);
        Assert.StartsWith("one\n", coordinator.Log.ToString(), StringComparison.Ordinal);
        Assert.EndsWith("\ntwo\n", coordinator.Log.ToString(), StringComparison.Ordinal);
        Assert.False(report.Lost);
    }

    [Fact]
    public async Task A_lost_lease_ends_the_build()
    {
        var coordinator = new TestCoordinator { Fault = new LeaseLostException("gone") };
        using var report = new BuildReport(Lease, coordinator, TimeProvider.System, NullLogger.Instance);
        report.Log("one\n"u8);
        await report.RunAsync();
        Assert.True(report.Lost && report.Canceled.IsCancellationRequested);
    }

    [Fact]
    public async Task A_flood_is_dropped_and_the_log_says_so()
    {
        var coordinator = new TestCoordinator();
        using var report = new BuildReport(Lease, coordinator, TimeProvider.System, NullLogger.Instance);
        var megabyte = new byte[1 << 20];
        Array.Fill(megabyte, (byte)'x');
        for (var i = 0; i < 18; i++)
        {
            report.Log(megabyte);
        }

        var reporting = report.RunAsync();
        await report.FinishAsync(reporting);
        Assert.Contains($"[{2 << 20} bytes came too fast and were dropped]", coordinator.Log.ToString());
    }

    [Fact]
    public async Task Whoever_is_about_to_be_killed_does_not_wait_for_a_registry_that_is_away()
    {
        var coordinator = new TestCoordinator { Fault = new IOException("nobody answers") };
        using var report = new BuildReport(Lease, coordinator, TimeProvider.System, NullLogger.Instance);
        var reporting = report.RunAsync();
        report.Log("one\n"u8);
        report.Hurry();

        await report.FinishAsync(reporting).WaitAsync(TimeSpan.FromMinutes(1), Cancel);

        Assert.False(report.Lost);
    }
}
