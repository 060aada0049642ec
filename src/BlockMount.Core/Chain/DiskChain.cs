using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;

namespace BlockMount.Core.Chain;

/// <summary>
/// A disk made of a base image and differencing images on it, as one device. The only class that moves disk content: images say
/// where bytes are, the chain reads, writes and fills. Writes go to the leaf alone.
/// </summary>
public sealed partial class DiskChain : BlockDevice
{
    private const int CopyPiece = 1 << 20;
    private const int GateCount = 64;

    private readonly ImageLayer _leaf;
    private readonly ParentMap _parents;
    private readonly SemaphoreSlim[] _gates = new SemaphoreSlim[GateCount];
    private readonly SemaphoreSlim _flushGate = new(1);
    private readonly SemaphoreSlim _beginGate = new(1);
    private readonly bool _contentChanges;
    private volatile bool _writing;
    private volatile bool _dirty;
    private volatile Exception? _failure;
    private long _flushWanted;
    private long _flushDone;

    /// <param name="layers">Base first, leaf last; 1 to 250, already checked to belong together. The chain owns them.</param>
    /// <param name="contentChanges">Whether writes change the disk; no for whoever only moves content inside a chain, and answers for that.</param>
    public DiskChain(IReadOnlyList<ImageLayer> layers, bool contentChanges = true)
        : base(layers[^1].Path, layers[^1].Capacity, !layers[^1].CanWrite)
    {
        Layers = layers;
        _contentChanges = contentChanges;
        LogicalSectorSize = layers.Max(static l => l.LogicalSectorSize);
        _leaf = layers[^1];
        _parents = new ParentMap(layers.Take(layers.Count - 1).ToArray(), _leaf.Capacity);
        for (var i = 0; i < GateCount; i++)
        {
            _gates[i] = new SemaphoreSlim(1);
        }
    }

    /// <summary>The images, base first.</summary>
    public IReadOnlyList<ImageLayer> Layers { get; }

    /// <summary>Why changes are refused since a write of the image's own data or a flush failed (rule D3); null while all is well.</summary>
    public Exception? Failure => _failure;

    public override int LogicalSectorSize { get; }

    public override bool IsRotational => Layers.Any(static l => l.IsRotational);

    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        try
        {
            var resolving = _leaf.ResolveAsync(offset, buffer.Length, cancellationToken);
            if (!resolving.IsCompletedSuccessfully)
            {
                return ReadRunsAsync(resolving, offset, buffer, cancellationToken);
            }

            // Most reads are one run of the leaf. Handed on as they are they cost no object, however long the store takes.
            var run = resolving.Result;
            return run.Kind == RunKind.Data && run.Length == buffer.Length
                ? run.Store!.ReadAsync(run.StoreOffset, buffer, cancellationToken)
                : ReadRunsAsync(new(run), offset, buffer, cancellationToken);
        }
        catch (DiskException e)
        {
            // Callers that start several reads at once are told by the one that failed.
            return ValueTask.FromException(e);
        }
    }

    private async ValueTask ReadRunsAsync(ValueTask<BlockRun> resolving, long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        while (true)
        {
            var run = await resolving;
            if (run.Kind == RunKind.Parent)
            {
                (run, _) = await _parents.ResolveAsync(offset, run.Length, cancellationToken);
            }

            var part = buffer[..(int)run.Length];
            if (run.Kind == RunKind.Data)
            {
                await run.Store!.ReadAsync(run.StoreOffset, part, cancellationToken);
            }
            else
            {
                part.Span.Clear();
            }

            if (part.Length == buffer.Length)
            {
                return;
            }

            offset += part.Length;
            buffer = buffer[part.Length..];
            resolving = _leaf.ResolveAsync(offset, buffer.Length, cancellationToken);
        }
    }

    protected override async ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        _leaf.RequireWritable(offset, data.Length, sparesZeros: false);
        await BeginWritingAsync(cancellationToken);
        try
        {
            while (!data.IsEmpty)
            {
                var run = await _leaf.ResolveAsync(offset, data.Length, cancellationToken);
                int done;
                if (run.Kind == RunKind.Data)
                {
                    done = (int)run.Length;
                    await run.Store!.WriteAsync(run.StoreOffset, data[..done], cancellationToken);
                }
                else
                {
                    done = (int)Math.Min(data.Length, UnitEnd(offset) - offset);
                    await WriteUnitAsync(offset, data[..done], cancellationToken);
                }

                offset += done;
                data = data[done..];
            }
        }
        finally
        {
            _dirty = true;
        }
    }

    protected override async ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken)
    {
        _leaf.RequireWritable(offset, length, sparesZeros: !keepAllocated);
        await BeginWritingAsync(cancellationToken);
        try
        {
            while (length > 0)
            {
                var run = await _leaf.ResolveAsync(offset, length, cancellationToken);
                var done = run.Length;
                if (run.Kind == RunKind.Data)
                {
                    await run.Store!.ZeroAsync(run.StoreOffset, done, keepAllocated || _leaf.KeepsAllocation, cancellationToken);
                }
                else if (keepAllocated || (run.Kind == RunKind.Parent && !_parents.IsEmpty))
                {
                    done = Math.Min(done, UnitEnd(offset) - offset);
                    await ZeroUnitAsync(offset, done, keepAllocated, cancellationToken);
                }

                offset += done;
                length -= done;
            }
        }
        finally
        {
            _dirty = true;
        }
    }

    protected override async ValueTask TrimCoreAsync(long offset, long length, CancellationToken cancellationToken)
    {
        _leaf.RequireWritable(offset, length, sparesZeros: true);
        await BeginWritingAsync(cancellationToken);
        try
        {
            while (length > 0)
            {
                var run = await _leaf.ResolveAsync(offset, length, cancellationToken);
                var done = run.Length;
                if (run.Kind == RunKind.Data && !_leaf.KeepsAllocation)
                {
                    await run.Store!.DiscardAsync(run.StoreOffset, done, cancellationToken);
                }
                else if (run.Kind == RunKind.Parent && !_parents.IsEmpty)
                {
                    done = Math.Min(done, UnitEnd(offset) - offset);
                    if (done == UnitEnd(offset) - UnitStart(offset))
                    {
                        await MarkUnitZeroAsync(offset, cancellationToken);
                    }
                }

                offset += done;
                length -= done;
            }
        }
        finally
        {
            _dirty = true;
        }
    }

    /// <summary>Callers that arrive while a flush runs share the next one.</summary>
    protected override async ValueTask FlushCoreAsync(CancellationToken cancellationToken)
    {
        var ticket = Interlocked.Increment(ref _flushWanted);
        await _flushGate.WaitAsync(cancellationToken);
        try
        {
            ThrowIfLatched();
            if (_flushDone >= ticket)
            {
                return;
            }

            var covers = Volatile.Read(ref _flushWanted);
            if (_dirty)
            {
                // Cleared first, and set by every operation as it completes: one that completes during this flush, wherever its
                // bytes were by then, makes the next flush real.
                _dirty = false;
                await LatchingAsync(_leaf.FlushAsync(CancellationToken.None));
            }

            _flushDone = covers;
        }
        finally
        {
            _flushGate.Release();
        }
    }

    protected override async ValueTask<DiskExtent> MapCoreAsync(long offset, long length, CancellationToken cancellationToken)
    {
        var depth = 0;
        var run = await _leaf.ResolveAsync(offset, length, cancellationToken);
        if (run.Kind == RunKind.Parent)
        {
            (run, var layer) = await _parents.ResolveAsync(offset, run.Length, cancellationToken);
            depth = layer < 0 ? -1 : Layers.Count - 1 - layer;
        }

        if (run.Kind != RunKind.Data)
        {
            return new DiskExtent(offset, run.Length, IsData: false, IsZero: true, depth, null, null);
        }

        var stored = await run.Store!.MapAsync(run.StoreOffset, run.Length, cancellationToken);
        return stored.IsHole
            ? new DiskExtent(offset, stored.Length, IsData: false, IsZero: true, depth, null, null)
            : new DiskExtent(offset, stored.Length, IsData: true, IsZero: false, depth, run.Store.Name, stored.IsDerived ? null : run.StoreOffset);
    }

    protected override async ValueTask DisposeCoreAsync()
    {
        foreach (var layer in Layers.Reverse())
        {
            await layer.DisposeAsync();
        }
    }

    private long UnitStart(long offset) => offset & ~(_leaf.UnitSize - 1);

    private long UnitEnd(long offset) => Math.Min(UnitStart(offset) + _leaf.UnitSize, Length);

    private SemaphoreSlim Gate(long offset) => _gates[(offset / _leaf.UnitSize) % GateCount];

    private void ThrowIfLatched()
    {
        if (_failure is { } failure)
        {
            throw failure is DiskException { Kind: ErrorKind.ShuttingDown } ? failure : DiskErrors.PreviousFailure(Name, failure);
        }
    }

    /// <summary>Refuses every change from now on, for the images are not where this chain takes them to be any more.</summary>
    internal void Retire(string reason) => _failure ??= new DiskException(ErrorKind.ShuttingDown, $"{Name}: {reason}; close it and open it again.") { Path = Name };

    /// <summary>Rule D3: the host may have thrown away what a failed flush was to keep, so nothing later may claim success.</summary>
    private async ValueTask LatchingAsync(ValueTask metadataWork)
    {
        try
        {
            await metadataWork;
        }
        catch (Exception e)
        {
            _failure ??= e;
            throw;
        }
    }
}
