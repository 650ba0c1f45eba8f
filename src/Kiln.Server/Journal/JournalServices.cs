using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Kiln.Server.Journal;

/// <summary>The parts of the journal.</summary>
internal static class JournalServices
{
    public static IServiceCollection AddJournal(this IServiceCollection services, StorageOptions options) =>
        (
            options.Location is null
                ? services.AddSingleton<IJournalStore, FileJournalStore>()
                : services.AddSingleton<IJournalStore, S3JournalStore>()
        )
            .AddSingleton<JournalAge>()
            .AddSingleton<JournalLease>()
            .AddSingleton<ManifestBytes>()
            .AddSingleton<JournalSnapshot>()
            .AddSingleton<JournalWriter>()
            // Before anything runs that writes.
            .AddSingleton<IHostedService>(provider => new StartCheck(async cancel =>
            {
                if (await provider.GetRequiredService<JournalAge>().CheckAsync(cancel))
                {
                    provider.GetRequiredService<JournalSnapshot>().Require();
                }
            }))
            .AddHostedService(provider => provider.GetRequiredService<JournalWriter>());
}
