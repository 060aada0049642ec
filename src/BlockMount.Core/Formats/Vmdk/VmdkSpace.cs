using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>
/// Hands out space for new grains at the end of a sparse extent's file, aligned to the grain size. The file grows by an eighth
/// at a time, as a hole, and is cut back when it is closed.
/// </summary>
internal sealed class VmdkSpace : IDisposable
{
    private const long MostStep = 16 << 20;

    private readonly ByteStore _store;
    private readonly VmdkSparseHeader _header;
    private readonly SemaphoreSlim _growth = new(1);
    private readonly Stack<uint> _returned = new();
    private long _next;

    public VmdkSpace(ByteStore store, VmdkSparseHeader header)
    {
        _store = store;
        _header = header;
        _next = (store.Length + header.GrainSize - 1) / header.GrainSize * (long)header.GrainSectors;
    }

    /// <summary>First sector of space that reads as zero.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.NoSpace"/> when the file would pass 2 TiB, or the host has no room.</exception>
    public async ValueTask<uint> TakeAsync(CancellationToken cancellationToken)
    {
        // One at a time: of two callers that both extend, the later must not cut off what the earlier added.
        await _growth.WaitAsync(cancellationToken);
        try
        {
            if (Recall() is { } used)
            {
                await ZeroAsync(used, cancellationToken);
                return used;
            }

            return await GrowAsync((long)_header.GrainSectors, cancellationToken);
        }
        finally
        {
            _growth.Release();
        }
    }

    /// <summary>First of so many sectors of new space at the end of the file, for tables.</summary>
    /// <exception cref="DiskException">As <see cref="TakeAsync"/>.</exception>
    public async ValueTask<uint> TakeForTablesAsync(long sectors, CancellationToken cancellationToken)
    {
        await _growth.WaitAsync(cancellationToken);
        try
        {
            var grain = (long)_header.GrainSectors;
            return await GrowAsync((sectors + grain - 1) / grain * grain, cancellationToken);
        }
        finally
        {
            _growth.Release();
        }
    }

    /// <summary>Gives space back that no table names; it may hold bytes.</summary>
    public void Return(uint sector)
    {
        lock (_returned)
        {
            _returned.Push(sector);
        }
    }

    /// <summary>Gives the host the space back that was never handed out.</summary>
    public ValueTask CutAsync() =>
        _store.Length > _next * SectorSize ? _store.SetLengthAsync(_next * SectorSize) : ValueTask.CompletedTask;

    public void Dispose() => _growth.Dispose();

    private async ValueTask<uint> GrowAsync(long sectors, CancellationToken cancellationToken)
    {
        if (_next > uint.MaxValue - sectors)
        {
            throw new DiskException(ErrorKind.NoSpace, $"{_store.Name}: the file of {_store.Length} bytes cannot grow, sector numbers in a sparse VMDK end at 2 TiB.") { Path = _store.Name };
        }

        var end = (_next + sectors) * SectorSize;
        if (_store.Length < end)
        {
            await _store.SetLengthAsync(end + Math.Min(end / 8, MostStep), cancellationToken);
        }

        var sector = (uint)_next;
        _next += sectors;
        return sector;
    }

    private uint? Recall()
    {
        lock (_returned)
        {
            return _returned.TryPop(out var sector) ? sector : null;
        }
    }

    private async ValueTask ZeroAsync(uint sector, CancellationToken cancellationToken)
    {
        try
        {
            await _store.ZeroAsync((long)sector * SectorSize, _header.GrainSize, keepAllocated: false, cancellationToken);
        }
        catch
        {
            Return(sector);
            throw;
        }
    }
}
