using BlockMount.Core.Errors;
using BlockMount.Core.Storage;

namespace BlockMount.Core.Tests.Hostile;

/// <summary>
/// The files of one mutant as a host offers them. It counts what is asked of it, remembers the first request that no program should make,
/// and has little room, so that running out of it is tried as well.
/// </summary>
internal sealed class HostileHost(IReadOnlyDictionary<string, HostileFile> files) : IStoreProvider
{
    /// <summary>Reads of one mutant; one that is honestly read takes a few hundred.</summary>
    private const int MostReads = 20_000;

    private int _reads;

    private const long Room = 8 << 20;
    private const long LongestFile = 1L << 44;

    /// <summary>What was asked that should not have been; null so far.</summary>
    public string? Violation { get; private set; }

    public int Changes { get; private set; }

    public ValueTask<ByteStore> OpenAsync(
        string path, StoreAccess access, StoreOpenOptions options = StoreOpenOptions.None, CancellationToken cancellationToken = default) =>
        files.TryGetValue(path, out var file)
            ? new(new Store(this, path, file, access == StoreAccess.Write))
            : throw new DiskException(ErrorKind.NotFound, "There is no such file.");

    public ValueTask<ByteStore> CreateAsync(string path, CancellationToken cancellationToken = default) => throw new NotSupportedException();

    public void Delete(string path) => throw new NotSupportedException();

    public bool DeviceExists(string path) => false;

    public bool FileExists(string path) => files.ContainsKey(path);

    public IReadOnlyList<string> ListFiles(string directory, int limit) =>
        files.Keys.Where(p => string.Equals(Path.GetDirectoryName(p), directory, StringComparison.Ordinal)).Order(StringComparer.Ordinal).Take(limit).ToArray();

    private sealed class Store(HostileHost host, string name, HostileFile file, bool canWrite) : ByteStore(name, canWrite)
    {
        public override long Length => file.Length;

        public override ValueTask DisposeAsync() => ValueTask.CompletedTask;

        protected override ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
        {
            if (offset > file.Length || buffer.Length > file.Length - offset)
            {
                host.Violation ??= $"a read of {buffer.Length} bytes at {offset} of {Name}, which has {file.Length}";
                throw new DiskException(ErrorKind.Io, $"{Name}: a read past the end.");
            }

            if (Interlocked.Increment(ref host._reads) > MostReads)
            {
                throw new InvalidOperationException($"more than {MostReads} reads");
            }

            file.Read(offset, buffer.Span);
            return ValueTask.CompletedTask;
        }

        protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
        {
            RequireRoom(offset + data.Length);
            file.Write(offset, data.Span);
            return ValueTask.CompletedTask;
        }

        protected override ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken)
        {
            if (length > file.Length - offset)
            {
                host.Violation ??= $"zeroing {length} bytes at {offset} of {Name}, which has {file.Length}";
            }

            RequireRoom(0);
            file.Zero(offset, length);
            return ValueTask.CompletedTask;
        }

        protected override ValueTask DiscardCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
            ZeroCoreAsync(offset, length, keepAllocated: false, cancellationToken);

        protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;

        protected override ValueTask SetLengthCoreAsync(long length, CancellationToken cancellationToken)
        {
            RequireRoom(length);
            file.SetLength(length);
            return ValueTask.CompletedTask;
        }

        protected override ValueTask AllocateCoreAsync(long offset, long length, CancellationToken cancellationToken)
        {
            RequireRoom(offset + length);
            file.SetLength(Math.Max(file.Length, offset + length));
            return ValueTask.CompletedTask;
        }

        private void RequireRoom(long end)
        {
            host.Changes++;
            if (end > LongestFile || file.ChangedBytes > Room)
            {
                throw new DiskException(ErrorKind.NoSpace, $"{Name}: no space left on device.");
            }
        }
    }
}
