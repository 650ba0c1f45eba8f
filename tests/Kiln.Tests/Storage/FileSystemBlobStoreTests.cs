using Kiln.Server.Storage;
using Kiln.Server.Storage.FileSystem;

namespace Kiln.Tests.Storage;

public sealed class FileSystemBlobStoreTests : BlobStoreContract
{
    private protected override Task<StoreUnderTest> StartAsync() => Task.FromResult<StoreUnderTest>(new Files());

    private sealed class Files : StoreUnderTest
    {
        private readonly string _root = Directory.CreateTempSubdirectory("kiln-store-").FullName;
        private DataDirectory _directory;
        private FileSystemBlobStore _store;

        public Files()
        {
            _directory = new DataDirectory(_root);
            _store = new FileSystemBlobStore(_directory);
        }

        public override IBlobStore Store => _store;

        public override Task MoveAsync()
        {
            _store.Dispose();
            _directory.Dispose();
            _directory = new DataDirectory(_root);
            _store = new FileSystemBlobStore(_directory);
            return Task.CompletedTask;
        }

        public override ValueTask DisposeAsync()
        {
            _store.Dispose();
            _directory.Dispose();
            Directory.Delete(_root, recursive: true);
            return ValueTask.CompletedTask;
        }
    }
}
