using BlockMount.Core.Errors;
using BlockMount.Core.Storage;

namespace BlockMount.TestSupport;

/// <summary>A store in memory. Thread-safe for concurrent readers and writers.</summary>
internal class MemoryStore(string name = "memory", bool canWrite = true, byte[]? content = null) : ByteStore(name, canWrite)
{
    private readonly Lock _lock = new();
    private byte[] _bytes = content ?? [];
    private long _length = content?.Length ?? 0;

    public override long Length => Volatile.Read(ref _length);

    public int Flushes { get; private set; }

    public byte[] Snapshot()
    {
        lock (_lock)
        {
            return _bytes.AsSpan(0, (int)_length).ToArray();
        }
    }

    public override ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        return ValueTask.CompletedTask;
    }

    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            if (offset > _length || buffer.Length > _length - offset)
            {
                throw new DiskException(ErrorKind.Io, $"{Name}: read of {buffer.Length} bytes at {offset} reaches past the end at {_length}.");
            }

            _bytes.AsMemory((int)offset, buffer.Length).CopyTo(buffer);
        }

        return ValueTask.CompletedTask;
    }

    protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            Grow(offset + data.Length);
            data.CopyTo(_bytes.AsMemory((int)offset));
        }

        return ValueTask.CompletedTask;
    }

    protected override ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            _bytes.AsSpan((int)offset, (int)length).Clear();
        }

        return ValueTask.CompletedTask;
    }

    protected override ValueTask DiscardCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
        ZeroCoreAsync(offset, length, keepAllocated: false, cancellationToken);

    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken)
    {
        Flushes++;
        return ValueTask.CompletedTask;
    }

    protected override ValueTask SetLengthCoreAsync(long length, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            if (length < _length)
            {
                _bytes.AsSpan((int)length, (int)(_length - length)).Clear();
                _length = length;
            }
            else
            {
                Grow(length);
            }
        }

        return ValueTask.CompletedTask;
    }

    protected override ValueTask AllocateCoreAsync(long offset, long length, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            Grow(offset + length);
        }

        return ValueTask.CompletedTask;
    }

    private void Grow(long length)
    {
        if (length > _bytes.Length)
        {
            Array.Resize(ref _bytes, (int)Math.Max(length, _bytes.Length * 3L / 2));
        }

        _length = Math.Max(_length, length);
    }
}
