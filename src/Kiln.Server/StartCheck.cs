using Microsoft.Extensions.Hosting;

namespace Kiln.Server;

/// <summary>What a server looks at before anything of it runs: where it throws, the server does not start.</summary>
internal sealed class StartCheck(Func<CancellationToken, Task> check) : IHostedLifecycleService
{
    public Task StartingAsync(CancellationToken cancellationToken) => check(cancellationToken);

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;
}
