using Microsoft.Extensions.DependencyInjection;

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
            .AddSingleton<JournalLease>()
            .AddSingleton<ManifestBytes>()
            .AddSingleton<JournalSnapshot>()
            .AddSingleton<JournalWriter>()
            .AddHostedService(provider => provider.GetRequiredService<JournalWriter>());
}
