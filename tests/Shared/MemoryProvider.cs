using System.Collections.Concurrent;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;

namespace BlockMount.TestSupport;

/// <summary>A host whose files are arrays. Opening for writing twice, or beside readers, is refused as the real one refuses it.</summary>
internal sealed class MemoryProvider : IStoreProvider
{
    private readonly ConcurrentDictionary<string, byte[]> _files = new(StringComparer.Ordinal);

    /// <summary>Those of the files that are block devices.</summary>
    public HashSet<string> Devices { get; } = [];

    public byte[] this[string path]
    {
        get => _files[path];
        set => _files[path] = value;
    }

    public IEnumerable<string> Paths => _files.Keys.Order(StringComparer.Ordinal);

    /// <summary>Wraps every store that is opened or created; for recording and failing stores.</summary>
    public Func<ByteStore, ByteStore> Wrap { get; set; } = static store => store;

    public ValueTask<ByteStore> OpenAsync(
        string path, StoreAccess access, StoreOpenOptions options = StoreOpenOptions.None, CancellationToken cancellationToken = default)
    {
        if (!_files.TryGetValue(path, out var bytes))
        {
            throw new DiskException(ErrorKind.NotFound, $"{path}: there is no such file.");
        }

        var allowed = Devices.Contains(path)
            ? (options & (StoreOpenOptions.AllowDevice | StoreOpenOptions.OnlyDevice)) != 0
            : (options & StoreOpenOptions.OnlyDevice) == 0;
        if (!allowed)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"{path}: may not be opened with {options}.");
        }

        var canWrite = access == StoreAccess.Write;
        return new(Wrap(new SavedStore(this, path, canWrite, canWrite ? (byte[])bytes.Clone() : bytes)));
    }

    public ValueTask<ByteStore> CreateAsync(string path, CancellationToken cancellationToken = default)
    {
        if (!_files.TryAdd(path, []))
        {
            throw new DiskException(ErrorKind.AlreadyExists, $"{path}: it exists already and is not overwritten.");
        }

        return new(Wrap(new SavedStore(this, path, canWrite: true, [])));
    }

    public void Delete(string path) => _files.TryRemove(path, out _);

    public bool FileExists(string path) => _files.ContainsKey(path) && !Devices.Contains(path);

    public bool DeviceExists(string path) => Devices.Contains(path);

    public IReadOnlyList<string> ListFiles(string directory, int limit) =>
        Paths.Where(p => string.Equals(Path.GetDirectoryName(p), directory, StringComparison.Ordinal)).Take(limit).ToArray();

    private sealed class SavedStore(MemoryProvider owner, string path, bool canWrite, byte[] content) : MemoryStore(path, canWrite, content)
    {
        public override ValueTask DisposeAsync()
        {
            if (CanWrite)
            {
                owner._files[Name] = Snapshot();
            }

            return base.DisposeAsync();
        }
    }
}
