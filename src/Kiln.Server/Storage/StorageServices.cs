using Kiln.Server.Storage.FileSystem;
using Kiln.Server.Storage.S3;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Kiln.Server.Storage;

/// <summary>Where bytes live: in the data directory, or in a bucket.</summary>
internal static class StorageServices
{
    public static IServiceCollection AddStorage(this IServiceCollection services, StorageOptions options)
    {
        if (options.Location is null)
        {
            return services.AddSingleton<IBlobStore, FileSystemBlobStore>();
        }

        services.AddSingleton(options).AddSingleton<S3Bucket>().AddSingleton<StagedUploads>();
        // A server whose bucket cannot be used does not start; nor is anything else asked of the bucket before.
        services.AddSingleton<IHostedService>(provider => new StartCheck(
            provider.GetRequiredService<S3Bucket>().CheckAsync
        ));
        return services.AddSingleton<IBlobStore, S3BlobStore>();
    }
}
