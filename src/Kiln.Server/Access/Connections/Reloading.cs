using System.Runtime.InteropServices;
using Kiln.Server.Access.Policies;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Kiln.Server.Access.Connections;

/// <summary>
/// Looks at the policy and the certificate when SIGHUP comes, and every few seconds, so that an operator who broke one
/// reads of it in the log without anybody having asked for anything.
/// </summary>
internal sealed class Reloading(PolicyStore policies, IServiceProvider services, TimeProvider time) : BackgroundService
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(5);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var hangup = PosixSignalRegistration.Create(
            PosixSignal.SIGHUP,
            context =>
            {
                context.Cancel = true;
                Reload();
            }
        );
        using var timer = new PeriodicTimer(Interval, time);
        try
        {
            while (await timer.WaitForNextTickAsync(stoppingToken))
            {
                Reload();
            }
        }
        catch (OperationCanceledException)
        {
            // The server stops.
        }
    }

    private void Reload()
    {
        policies.Reload();
        services.GetService<ServerCertificate>()?.Reload();
    }
}
