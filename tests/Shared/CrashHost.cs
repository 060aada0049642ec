using BlockMount.Core.Errors;
using BlockMount.Core.Storage;

namespace BlockMount.TestSupport;

/// <summary>
/// A host in memory on which every change, of bytes and of names, has its moment, so that it can be looked at as a power cut at any of them
/// leaves it. Files are shared by whoever has them open, and locked as the real host locks them.
/// </summary>
internal sealed class CrashHost : IStoreProvider
{
    /// <summary>What <see cref="PowerCut"/> is asked about instead of a sector, for the removal of a name.</summary>
    public const long Removal = -2;

    private readonly Lock _lock = new();
    private readonly Dictionary<string, RecordingStore> _files = new(StringComparer.Ordinal);
    private readonly List<(int Moment, string Path, RecordingStore? File, bool IsRemoval)> _names = [];
    private readonly Dictionary<RecordingStore, (int Readers, bool HasWriter)> _users = [];

    /// <param name="files">What it holds at first, all of it durable.</param>
    public CrashHost(IEnumerable<(string Path, byte[] Content)> files)
    {
        foreach (var (path, content) in files)
        {
            var file = new RecordingStore(path, content, Clock);
            _files.Add(path, file);
            _names.Add((-1, path, file, false));
        }
    }

    public CrashHost(MemoryProvider files)
        : this(files.Paths.Select(p => (p, files[p])).ToArray())
    {
    }

    public RecordingClock Clock { get; } = new();

    public IEnumerable<string> Paths
    {
        get
        {
            lock (_lock)
            {
                return _files.Keys.Order(StringComparer.Ordinal).ToArray();
            }
        }
    }

    /// <summary>Stores that somebody has open.</summary>
    public int OpenStores
    {
        get
        {
            lock (_lock)
            {
                return _users.Values.Sum(static u => u.Readers + (u.HasWriter ? 1 : 0));
            }
        }
    }

    /// <summary>Wraps every store that is opened or created; for failing and slow stores.</summary>
    public Func<ByteStore, ByteStore> Wrap { get; set; } = static store => store;

    /// <summary>What opening a file fails with, if anything.</summary>
    public Func<string, StoreAccess, Exception?> Refuse { get; set; } = static (_, _) => null;

    /// <summary>The files as they are now.</summary>
    public MemoryProvider Now() => At(Clock.Now, static (_, _) => true);

    /// <summary>The files after a power cut at a moment; <paramref name="keep"/> as for <see cref="PowerCut.Replay"/>, with <see cref="Removal"/> for names that went.</summary>
    public MemoryProvider At(int moment, Func<int, long, bool> keep)
    {
        lock (_lock)
        {
            var there = new Dictionary<string, RecordingStore>(StringComparer.Ordinal);
            foreach (var (at, path, file, isRemoval) in _names.Where(n => n.Moment < moment))
            {
                if (file is not null)
                {
                    there[path] = file;
                }
                else if (!isRemoval || keep(at, Removal))
                {
                    there.Remove(path);
                }
            }

            var found = new MemoryProvider();
            foreach (var (path, file) in there)
            {
                found[path] = PowerCut.Replay(file, moment, keep);
            }

            return found;
        }
    }

    public ValueTask<ByteStore> OpenAsync(
        string path, StoreAccess access, StoreOpenOptions options = StoreOpenOptions.None, CancellationToken cancellationToken = default)
    {
        lock (_lock)
        {
            return Refuse(path, access) is { } refused ? throw refused
                : _files.TryGetValue(path, out var file) ? new(Wrap(new View(this, path, file, access)))
                : throw new DiskException(ErrorKind.NotFound, $"{path}: there is no such file.");
        }
    }

    public ValueTask<ByteStore> CreateAsync(string path, CancellationToken cancellationToken = default)
    {
        lock (_lock)
        {
            if (_files.ContainsKey(path))
            {
                throw new DiskException(ErrorKind.AlreadyExists, $"{path}: it exists already and is not overwritten.");
            }

            var file = new RecordingStore(path, [], Clock);
            Clock.Tick(moment => _names.Add((moment, path, file, false)));
            _files.Add(path, file);
            return new(Wrap(new View(this, path, file, StoreAccess.Write)));
        }
    }

    public async ValueTask<ByteStore> ReplaceAsync(ByteStore made, string path)
    {
        RecordingStore file;
        lock (_lock)
        {
            file = _files[made.Name];
            Clock.Tick(moment =>
            {
                _names.Add((moment, path, file, false));
                _names.Add((moment, made.Name, null, false));
            });
            _files[path] = file;
            _files.Remove(made.Name);
        }

        await made.DisposeAsync();
        return Wrap(new View(this, path, file, StoreAccess.Write));
    }

    /// <summary>Files of folders that begin differently are of different file systems; for tests of copying.</summary>
    public bool HasFileSystems { get; set; }

    public ValueTask<bool> RenameAsync(string from, string to) => new(Name(from, to, keepOld: false));

    public ValueTask<bool> LinkAsync(string from, string to) => new(Name(from, to, keepOld: true));

    /// <summary>What deleting a file fails with, if anything.</summary>
    public Func<string, Exception?> RefuseDelete { get; set; } = static _ => null;

    public void Delete(string path)
    {
        lock (_lock)
        {
            if (RefuseDelete(path) is { } refused)
            {
                throw refused;
            }

            if (_files.Remove(path))
            {
                Clock.Tick(moment => _names.Add((moment, path, null, true)));
            }
        }
    }

    public bool FileExists(string path)
    {
        lock (_lock)
        {
            return _files.ContainsKey(path);
        }
    }

    public bool DeviceExists(string path) => false;

    public IReadOnlyList<string> ListFiles(string directory, int limit) =>
        Paths.Where(p => string.Equals(Path.GetDirectoryName(p), directory, StringComparison.Ordinal)).Take(limit).ToArray();

    private bool Name(string from, string to, bool keepOld)
    {
        lock (_lock)
        {
            if (HasFileSystems && from.Split('/')[1] != to.Split('/')[1])
            {
                return false;
            }

            if (_files.ContainsKey(to))
            {
                throw new DiskException(ErrorKind.AlreadyExists, $"{to}: it exists already and is not overwritten.");
            }

            var file = _files.GetValueOrDefault(from) ?? throw new DiskException(ErrorKind.NotFound, $"{from}: there is no such file.");
            Clock.Tick(moment =>
            {
                _names.Add((moment, to, file, false));
                if (!keepOld)
                {
                    _names.Add((moment, from, null, false));
                }
            });
            _files[to] = file;
            if (!keepOld)
            {
                _files.Remove(from);
            }

            return true;
        }
    }

    private void Claim(string path, RecordingStore file, StoreAccess access)
    {
        if (access == StoreAccess.Probe)
        {
            return;
        }

        lock (_lock)
        {
            var (readers, hasWriter) = _users.GetValueOrDefault(file);
            if (hasWriter || (access == StoreAccess.Write && readers > 0))
            {
                throw new DiskException(ErrorKind.Busy, $"{path}: it is in use by somebody else.");
            }

            _users[file] = access == StoreAccess.Write ? (readers, true) : (readers + 1, false);
        }
    }

    private void Release(RecordingStore file, StoreAccess access)
    {
        if (access == StoreAccess.Probe)
        {
            return;
        }

        lock (_lock)
        {
            var (readers, hasWriter) = _users[file];
            _users[file] = access == StoreAccess.Write ? (readers, false) : (readers - 1, hasWriter);
        }
    }

    /// <summary>A file as one of its users has it open.</summary>
    private sealed class View : ByteStore
    {
        private readonly CrashHost _host;
        private readonly RecordingStore _file;
        private readonly StoreAccess _access;
        private int _closed;

        public View(CrashHost host, string path, RecordingStore file, StoreAccess access)
            : base(path, access == StoreAccess.Write)
        {
            host.Claim(path, file, access);
            (_host, _file, _access) = (host, file, access);
        }

        public override long Length => _file.Length;

        public override ValueTask DisposeAsync()
        {
            if (Interlocked.Exchange(ref _closed, 1) == 0)
            {
                _host.Release(_file, _access);
            }

            return ValueTask.CompletedTask;
        }

        protected override ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken) =>
            Open().ReadAsync(offset, buffer, cancellationToken);

        protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken) =>
            Open().WriteAsync(offset, data, cancellationToken);

        protected override ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken) =>
            Open().ZeroAsync(offset, length, keepAllocated, cancellationToken);

        protected override ValueTask DiscardCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
            Open().DiscardAsync(offset, length, cancellationToken);

        protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken) => Open().FlushAsync(cancellationToken);

        protected override ValueTask SetLengthCoreAsync(long length, CancellationToken cancellationToken) => Open().SetLengthAsync(length, cancellationToken);

        protected override ValueTask AllocateCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
            Open().AllocateAsync(offset, length, cancellationToken);

        /// <summary>Use after closing is a fault of the program, and a test must notice it.</summary>
        private RecordingStore Open() =>
            Volatile.Read(ref _closed) == 0 ? _file : throw new InvalidOperationException($"{Name} is used after it was closed.");
    }
}
