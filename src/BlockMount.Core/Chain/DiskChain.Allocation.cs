using System.Buffers;
using BlockMount.Core.Formats;

namespace BlockMount.Core.Chain;

/// <content>
/// Writing where the leaf has nothing yet. One caller at a time works on a unit; others wait at its gate and then find it done.
/// </content>
public sealed partial class DiskChain
{
    private ValueTask BeginWritingAsync(CancellationToken cancellationToken)
    {
        ThrowIfLatched();
        return _writing ? ValueTask.CompletedTask : BeginOnceAsync(cancellationToken);
    }

    private async ValueTask BeginOnceAsync(CancellationToken cancellationToken)
    {
        await _beginGate.WaitAsync(cancellationToken);
        try
        {
            ThrowIfLatched();
            if (!_writing)
            {
                await LatchingAsync(_leaf.BeginWritingAsync(_contentChanges, CancellationToken.None));
                _writing = true;
            }
        }
        finally
        {
            _beginGate.Release();
        }
    }

    /// <summary>Writes inside one unit that was seen without space, or with space that lacks some of its bytes.</summary>
    private async ValueTask WriteUnitAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        var gate = Gate(offset);
        await gate.WaitAsync(cancellationToken);
        try
        {
            // Somebody may have allocated it before the gate opened; then this is an ordinary overwrite, run by run.
            while (!data.IsEmpty)
            {
                var run = await _leaf.ResolveAsync(offset, data.Length, cancellationToken);
                var part = data[..(int)run.Length];
                if (run.Kind == RunKind.Data)
                {
                    await run.Store!.WriteAsync(run.StoreOffset, part, cancellationToken);
                }
                else
                {
                    await AllocateAsync(
                        offset, part.Length, run.Kind == RunKind.Parent, (at, r) => r.Store.WriteAsync(at, part, cancellationToken), cancellationToken);
                }

                offset += part.Length;
                data = data[part.Length..];
            }
        }
        finally
        {
            gate.Release();
        }
    }

    /// <summary>Makes a range inside one unit zero that was seen without space, or with space that lacks some of its bytes.</summary>
    private async ValueTask ZeroUnitAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken)
    {
        var gate = Gate(offset);
        await gate.WaitAsync(cancellationToken);
        try
        {
            while (length > 0)
            {
                var run = await _leaf.ResolveAsync(offset, length, cancellationToken);
                await ZeroRunAsync(run, offset, keepAllocated, cancellationToken);
                offset += run.Length;
                length -= run.Length;
            }
        }
        finally
        {
            gate.Release();
        }
    }

    /// <summary>Makes one run zero, with as little file space as asked for; the caller holds the unit's gate.</summary>
    private async ValueTask ZeroRunAsync(BlockRun run, long offset, bool keepAllocated, CancellationToken cancellationToken)
    {
        var length = run.Length;
        if (run.Kind == RunKind.Data)
        {
            await run.Store!.ZeroAsync(run.StoreOffset, length, keepAllocated || _leaf.KeepsAllocation, cancellationToken);
        }
        else if (keepAllocated)
        {
            await AllocateAsync(
                offset, length, run.Kind == RunKind.Parent, (at, r) => r.Store.AllocateAsync(at, length, cancellationToken), cancellationToken);
        }
        else if (run.Kind == RunKind.Parent && !await ParentsAreZeroAsync(offset, length, cancellationToken))
        {
            var wholeUnit = offset == UnitStart(offset) && offset + length == UnitEnd(offset);
            if (!wholeUnit || !_leaf.TryMarkZero(offset))
            {
                await AllocateAsync(offset, length, fillFromParents: true, static (_, _) => ValueTask.CompletedTask, cancellationToken);
            }
        }
    }

    private async ValueTask MarkUnitZeroAsync(long offset, CancellationToken cancellationToken)
    {
        var gate = Gate(offset);
        await gate.WaitAsync(cancellationToken);
        try
        {
            var run = await _leaf.ResolveAsync(offset, 1, cancellationToken);
            if (run.Kind == RunKind.Parent && !await ParentsAreZeroAsync(offset, UnitEnd(offset) - offset, cancellationToken))
            {
                // A format without the marker keeps showing the parent's bytes, which a trim allows.
                _leaf.TryMarkZero(offset);
            }
        }
        finally
        {
            gate.Release();
        }
    }

    /// <summary>
    /// Gives the unit space, fills what lies around the range, puts the new content in, and only then shows the unit to anybody.
    /// The space reads as zero, so zeros need no writing.
    /// </summary>
    private async ValueTask AllocateAsync(
        long offset, long length, bool fillFromParents, Func<long, Reservation, ValueTask> writeContent, CancellationToken cancellationToken)
    {
        var reservation = await ReserveAsync(offset, cancellationToken);
        try
        {
            if (fillFromParents && !_parents.IsEmpty)
            {
                await CopyFromParentsAsync(reservation, reservation.Start, offset, cancellationToken);
                await CopyFromParentsAsync(reservation, offset + length, reservation.End, cancellationToken);
            }

            await writeContent(reservation.StoreOffset + (offset - reservation.Start), reservation);
        }
        catch
        {
            _leaf.Abandon(reservation);
            throw;
        }

        _leaf.Commit(reservation);
    }

    private async ValueTask CopyFromParentsAsync(Reservation reservation, long from, long to, CancellationToken cancellationToken)
    {
        if (from >= to)
        {
            return;
        }

        var buffer = ArrayPool<byte>.Shared.Rent((int)Math.Min(CopyPiece, to - from));
        try
        {
            while (from < to)
            {
                var (run, _) = await _parents.ResolveAsync(from, Math.Min(to - from, buffer.Length), cancellationToken);
                if (run.Kind == RunKind.Data)
                {
                    var part = buffer.AsMemory(0, (int)run.Length);
                    await run.Store!.ReadAsync(run.StoreOffset, part, cancellationToken);

                    // The space reads as zero already.
                    if (part.Span.ContainsAnyExcept((byte)0))
                    {
                        await reservation.Store.WriteAsync(reservation.StoreOffset + (from - reservation.Start), part, cancellationToken);
                    }
                }

                from += run.Length;
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private async ValueTask<bool> ParentsAreZeroAsync(long offset, long length, CancellationToken cancellationToken)
    {
        while (length > 0)
        {
            var (run, _) = await _parents.ResolveAsync(offset, length, cancellationToken);
            if (run.Kind != RunKind.Zero)
            {
                return false;
            }

            offset += run.Length;
            length -= run.Length;
        }

        return true;
    }
}
