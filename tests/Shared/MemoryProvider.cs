using System.Collections.Concurrent;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;

namespace BlockMount.TestSupport;

/// <summary>A host whose files are arrays. Opening for writing twice, or beside readers, is refused as the real one refuses it.</summary>
internal sealed class MemoryProvider : IStoreProvider
{
    private readonly ConcurrentDictionary<string, byte[]> _files = new(StringComparer.Ordinal);

    /// <summary>How often a name went to another file, or to none: who had the old one open keeps that.</summary>
    private readonly ConcurrentDictionary<string, int> _replaced = new(StringComparer.Ordinal);

    /// <summary>Those of the files that are block devices.</summary>
    public HashSet<string> Devices { get; } = [];

    /// <summary>What is told about them, by path; a link has the facts of what it leads to.</summary>
    public Dictionary<string, DeviceFacts> Facts { get; } = new(StringComparer.Ordinal);

    /// <summary>Names that this user may not open.</summary>
    public HashSet<string> Forbidden { get; } = [];

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
        if (Forbidden.Contains(path))
        {
            throw new DiskException(ErrorKind.AccessDenied, $"{path}: permission denied.");
        }

        if (!_files.TryGetValue(Backing(path).Path, out var bytes))
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
        var (_, start, length) = Backing(path);
        var content = start == 0 && length is null ? bytes : bytes.AsSpan((int)start, (int)(length ?? bytes.Length)).ToArray();
        return new(Wrap(new SavedStore(this, path, canWrite, canWrite ? (byte[])content.Clone() : content)));
    }

    public ValueTask<ByteStore> CreateAsync(string path, CancellationToken cancellationToken = default)
    {
        if (!_files.TryAdd(path, []))
        {
            throw new DiskException(ErrorKind.AlreadyExists, $"{path}: it exists already and is not overwritten.");
        }

        return new(Wrap(new SavedStore(this, path, canWrite: true, [])));
    }

    /// <summary>Told of every file that another one comes in the place of.</summary>
    public Action<string, string> Replacing { get; set; } = static (_, _) => { };

    public async ValueTask<ByteStore> ReplaceAsync(ByteStore made, string path)
    {
        var content = new byte[made.Length];
        await made.ReadAsync(0, content);
        Replacing(made.Name, path);
        await made.DisposeAsync();
        _files.TryRemove(made.Name, out _);
        _files[path] = content;
        _replaced[path] = _replaced.GetValueOrDefault(path) + 1;
        return Wrap(new SavedStore(this, path, canWrite: true, content));
    }

    /// <summary>Who has the file open for writing goes on with what nobody sees.</summary>
    public ValueTask<bool> RenameAsync(string from, string to)
    {
        if (!_files.TryGetValue(from, out var content))
        {
            throw new DiskException(ErrorKind.NotFound, $"{from}: there is no such file.");
        }

        if (!_files.TryAdd(to, content))
        {
            throw new DiskException(ErrorKind.AlreadyExists, $"{to}: it exists already and is not overwritten.");
        }

        _files.TryRemove(from, out _);
        _replaced[from] = _replaced.GetValueOrDefault(from) + 1;
        return new(true);
    }

    public void Delete(string path)
    {
        if (_files.TryRemove(path, out _))
        {
            _replaced[path] = _replaced.GetValueOrDefault(path) + 1;
        }
    }

    /// <summary>Adds a disk and nodes for its partitions, which are windows of it: what is written to one is in the disk when it is closed.</summary>
    /// <returns>The facts of the disk.</returns>
    public DeviceFacts AddDisk(string path, byte[] content, int sectorSize, params DevicePartition[] partitions)
    {
        this[path] = content;
        var disk = new DeviceFacts { Path = path, Length = content.Length, SectorSize = sectorSize, PhysicalSectorSize = 4096, Partitions = partitions, Serial = "S 1\"2%" };
        Facts[path] = disk;
        Devices.Add(path);
        foreach (var part in partitions)
        {
            Devices.Add(part.Path);
            Facts[part.Path] = new DeviceFacts
            {
                Path = part.Path,
                Length = part.Length,
                SectorSize = sectorSize,
                PhysicalSectorSize = 4096,
                DiskPath = path,
                PartitionNumber = part.Number,
                StartOnDisk = part.Start,
            };
        }

        return disk;
    }

    /// <summary>A symbolic link to a device.</summary>
    public void AddLink(string path, string target)
    {
        Devices.Add(path);
        Facts[path] = Facts[target];
    }

    public DeviceFacts? DescribeDevice(string path) => Facts.GetValueOrDefault(path);

    public bool FileExists(string path) => _files.ContainsKey(path) && !Devices.Contains(path);

    public bool DeviceExists(string path) => Devices.Contains(path);

    public IReadOnlyList<string> ListFiles(string directory, int limit) =>
        Paths.Where(p => string.Equals(Path.GetDirectoryName(p), directory, StringComparison.Ordinal)).Take(limit).ToArray();

    /// <summary>Where a name's bytes are kept.</summary>
    private (string Path, long Start, long? Length) Backing(string path) =>
        Facts.TryGetValue(path, out var facts) ? (facts.DiskPath ?? facts.Path, facts.StartOnDisk, facts.DiskPath is null ? null : facts.Length) : (path, 0, null);

    private sealed class SavedStore(MemoryProvider owner, string path, bool canWrite, byte[] content) : MemoryStore(path, canWrite, content)
    {
        private readonly int _generation = owner._replaced.GetValueOrDefault(path);

        public override int LogicalSectorSize => owner.Facts.TryGetValue(Name, out var facts) ? facts.SectorSize : 1;

        public override ValueTask DisposeAsync()
        {
            if (CanWrite && _generation == owner._replaced.GetValueOrDefault(Name))
            {
                var (path, start, length) = owner.Backing(Name);
                if (length is null)
                {
                    owner._files[path] = Snapshot();
                }
                else
                {
                    Snapshot().CopyTo(owner._files[path], start);
                }
            }

            return base.DisposeAsync();
        }
    }
}
