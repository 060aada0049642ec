using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Devices.CrashLogs.CrashLogFormat;

namespace BlockMount.Core.Devices.CrashLogs;

/// <summary>
/// Notes every change in a <see cref="CrashLog"/> before it says that the change is done, and forgets it when a flush has made it durable. Whatever was said to be done before the
/// process was killed is then on the disk or in the log.
/// </summary>
/// <remarks>
/// A record is made after the change itself: at the moment when a flush begins, what stands in the segment in use has been carried out, so that this flush covers it, and the other segment takes what
/// comes from then on. The log has a fixed length; a change that finds no room waits for a flush.
/// </remarks>
public sealed class CrashLogDevice : FilterDevice
{
    private readonly ByteStore _log;
    private readonly long _room;
    private readonly SemaphoreSlim _appending = new(1);
    private readonly SemaphoreSlim _flushing = new(1);
    private readonly byte[] _header = new byte[RecordHeaderSize];
    private readonly long[] _orders = new long[Segments];
    private byte[] _mark = [];
    private int _active;
    private long _used;
    private long _lastOrder;

    private CrashLogDevice(BlockDevice inner, ByteStore log, long room)
        : base(inner)
    {
        _log = log;
        _room = room;
    }

    /// <summary>Puts a log over a device.</summary>
    /// <param name="inner">The device; owned from here on.</param>
    /// <param name="log">Emptied and given its length at once, so that it never runs out of room; owned from here on.</param>
    /// <param name="room">Bytes of data in each of the two segments, at least <see cref="CrashLog.LeastRoom"/>.</param>
    /// <param name="cancellationToken">Gives up; both stay the caller's then.</param>
    /// <exception cref="DiskException">The store does not take the bytes; both stay the caller's.</exception>
    public static async Task<CrashLogDevice> OpenAsync(BlockDevice inner, ByteStore log, long room = CrashLog.DefaultRoom, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(room, CrashLog.LeastRoom);
        room &= ~7L;
        await log.SetLengthAsync(LengthOf(room), cancellationToken);
        await log.AllocateAsync(0, LengthOf(room), cancellationToken);
        var device = new CrashLogDevice(inner, log, room);
        await device.FreeAsync(1, cancellationToken);
        await device.BeginAsync(0, cancellationToken);
        return device;
    }

    protected override async ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        await base.WriteCoreAsync(offset, data, cancellationToken);
        await AppendAsync(CrashLogKind.Write, offset, data.Length, data, CancellationToken.None);
    }

    protected override async ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken)
    {
        await base.ZeroCoreAsync(offset, length, keepAllocated, cancellationToken);
        await AppendAsync(keepAllocated ? CrashLogKind.ZeroKeepingSpace : CrashLogKind.Zero, offset, length, default, CancellationToken.None);
    }

    protected override async ValueTask TrimCoreAsync(long offset, long length, CancellationToken cancellationToken)
    {
        await base.TrimCoreAsync(offset, length, cancellationToken);
        await AppendAsync(CrashLogKind.Trim, offset, length, default, CancellationToken.None);
    }

    protected override async ValueTask FlushCoreAsync(CancellationToken cancellationToken)
    {
        await _flushing.WaitAsync(cancellationToken);
        try
        {
            await SwitchAsync(cancellationToken);
            await base.FlushCoreAsync(cancellationToken);
            if (_orders[1 - _active] != 0)
            {
                await FreeAsync(1 - _active, CancellationToken.None);
            }
        }
        finally
        {
            _flushing.Release();
        }
    }

    protected override async ValueTask DisposeCoreAsync()
    {
        await base.DisposeCoreAsync();
        await _log.DisposeAsync();
        _appending.Dispose();
        _flushing.Dispose();
    }

    private async ValueTask AppendAsync(CrashLogKind kind, long offset, long length, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        var isWrite = kind == CrashLogKind.Write;
        while (true)
        {
            await _appending.WaitAsync(cancellationToken);
            try
            {
                // A piece of a write may be noted in one segment, and the rest in the other.
                var fits = isWrite ? Math.Min(length, (_room - _used - RecordHeaderSize) & ~7L) : length;
                if (_used + RecordHeaderSize <= _room && (fits > 0 || length == 0))
                {
                    await AppendPieceAsync(kind, offset, fits, isWrite ? data[..(int)fits] : default, cancellationToken);
                    if (fits == length)
                    {
                        return;
                    }

                    (offset, length, data) = (offset + fits, length - fits, data[(int)fits..]);
                }
            }
            finally
            {
                _appending.Release();
            }

            await MakeRoomAsync(cancellationToken);
        }
    }

    /// <summary>The record's header comes last: without it there is no record.</summary>
    private async ValueTask AppendPieceAsync(CrashLogKind kind, long offset, long length, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        var at = StartOf(_active, _room) + SegmentHeaderSize + _used;
        if (!data.IsEmpty)
        {
            await _log.WriteAsync(at + RecordHeaderSize, data, cancellationToken);
        }

        WriteRecordHeader(_header, _mark, kind, offset, length);
        await _log.WriteAsync(at, _header, cancellationToken);
        _used += SizeOf(kind, length);
    }

    private async ValueTask MakeRoomAsync(CancellationToken cancellationToken)
    {
        var active = _active;
        await FlushCoreAsync(cancellationToken);
        if (_active == active && _orders[1 - active] != 0)
        {
            throw new DiskException(ErrorKind.Io, $"{_log.Name}: there is no room for unflushed writes, because {Name} could not be flushed.") { Path = _log.Name };
        }
    }

    /// <summary>Lets the other segment take what comes, unless it still holds what a failed flush left.</summary>
    private async ValueTask SwitchAsync(CancellationToken cancellationToken)
    {
        await _appending.WaitAsync(cancellationToken);
        try
        {
            if (_used > 0 && _orders[1 - _active] == 0)
            {
                await BeginAsync(1 - _active, cancellationToken);
            }
        }
        finally
        {
            _appending.Release();
        }
    }

    private async ValueTask BeginAsync(int segment, CancellationToken cancellationToken)
    {
        var mark = CrashLog.NewMark();
        await _log.WriteAsync(StartOf(segment, _room), SegmentHeader(_lastOrder + 1, mark, Length, _room), cancellationToken);
        (_mark, _active, _used, _orders[segment]) = (mark, segment, 0, ++_lastOrder);
    }

    private async ValueTask FreeAsync(int segment, CancellationToken cancellationToken)
    {
        await _log.WriteAsync(StartOf(segment, _room), SegmentHeader(0, new byte[MarkSize], Length, _room), cancellationToken);
        _orders[segment] = 0;
    }
}
