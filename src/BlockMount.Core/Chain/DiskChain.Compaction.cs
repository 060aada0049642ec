using System.Buffers;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;

namespace BlockMount.Core.Chain;

/// <summary>What can be done with a unit of the leaf without the disk changing.</summary>
internal enum UnitWorth
{
    /// <summary>It holds bytes of its own, or has no space at all.</summary>
    Kept,

    /// <summary>It holds what the parents show: zeros, where there are none.</summary>
    AsParents,

    /// <summary>It holds zeros in front of something else, and the format can say so without them.</summary>
    AsZero,
}

/// <content>
/// What compaction does with the leaf. The disk stays the same, so that nothing is recorded about a change of it. Whoever calls these
/// keeps others away from the unit, as <see cref="IRangeBar"/> says.
/// </content>
public sealed partial class DiskChain
{
    private volatile bool _moving;

    internal ImageLayer Leaf => _leaf;

    /// <summary>End of the unit that starts at <paramref name="unitStart"/>, or of the disk.</summary>
    internal long EndOfUnit(long unitStart) => UnitEnd(unitStart);

    /// <summary>Reads as much of a unit as it takes to say what it is worth. Changes nothing; others may use the disk, and make the answer wrong.</summary>
    internal async ValueTask<UnitWorth> LookAtUnitAsync(long unitStart, CancellationToken cancellationToken)
    {
        var end = UnitEnd(unitStart);
        var asParents = _leaf.CanRelease(unitStart, asZero: false);
        var asZero = !_parents.IsEmpty && _leaf.CanRelease(unitStart, asZero: true);
        var hasSpace = false;
        var size = (int)Math.Min(CopyPiece, end - unitStart);
        var own = ArrayPool<byte>.Shared.Rent(size);
        var inherited = ArrayPool<byte>.Shared.Rent(size);
        try
        {
            for (var at = unitStart; at < end && (asParents || asZero);)
            {
                var run = await _leaf.ResolveAsync(at, Math.Min(end - at, size), cancellationToken);
                hasSpace |= run.Kind == RunKind.Data;
                if (run.Kind == RunKind.Parent)
                {
                    asZero = asZero && await ParentsAreZeroAsync(at, run.Length, cancellationToken);
                    at += run.Length;
                    continue;
                }

                var (length, isHole) = run.Kind == RunKind.Data ? await MapRunAsync(run, cancellationToken) : (run.Length, true);
                var bytes = own.AsMemory(0, (int)length);
                if (!isHole)
                {
                    await run.Store!.ReadAsync(run.StoreOffset, bytes, cancellationToken);
                }

                var isZero = isHole || !bytes.Span.ContainsAnyExcept((byte)0);
                asZero &= isZero;
                asParents = asParents && await ParentsHoldAsync(at, bytes, isZero, inherited, cancellationToken);
                at += length;
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(own);
            ArrayPool<byte>.Shared.Return(inherited);
        }

        return !hasSpace ? UnitWorth.Kept : asParents ? UnitWorth.AsParents : asZero ? UnitWorth.AsZero : UnitWorth.Kept;
    }

    /// <summary>Gives a unit back that holds what <paramref name="worth"/> says; durable with the next flush.</summary>
    internal async ValueTask<bool> ReleaseUnitAsync(long unitStart, UnitWorth worth, CancellationToken cancellationToken)
    {
        await BeginMovingAsync(cancellationToken);
        var gate = Gate(unitStart);
        await gate.WaitAsync(cancellationToken);
        try
        {
            return _leaf.TryRelease(unitStart, worth == UnitWorth.AsZero);
        }
        finally
        {
            gate.Release();
            _dirty = true;
        }
    }

    /// <summary>Moves a unit to a free place nearer to the start of its file; durable with the next flush.</summary>
    /// <returns>False when there is no such place.</returns>
    internal async ValueTask<bool> MoveUnitAsync(long unitStart, CancellationToken cancellationToken)
    {
        await BeginMovingAsync(cancellationToken);
        var gate = Gate(unitStart);
        await gate.WaitAsync(cancellationToken);
        try
        {
            if (await _leaf.ReserveLowerAsync(unitStart, cancellationToken) is not { } reservation)
            {
                return false;
            }

            try
            {
                await CopyOwnAsync(reservation, cancellationToken);
            }
            catch
            {
                _leaf.Abandon(reservation);
                throw;
            }

            _leaf.Commit(reservation);
            return true;
        }
        finally
        {
            gate.Release();
            _dirty = true;
        }
    }

    /// <summary>Gives the end of the leaf's files back to the host. What is to be cut off must have been flushed.</summary>
    internal async ValueTask CutAsync(CancellationToken cancellationToken)
    {
        await BeginMovingAsync(cancellationToken);
        await _flushGate.WaitAsync(cancellationToken);
        try
        {
            ThrowIfLatched();
            await LatchingAsync(_leaf.CutAsync(CancellationToken.None));
        }
        finally
        {
            _flushGate.Release();
        }
    }

    /// <summary>Tells the leaf once that its tables are about to change and its disk is not.</summary>
    private async ValueTask BeginMovingAsync(CancellationToken cancellationToken)
    {
        ThrowIfLatched();
        if (_moving)
        {
            return;
        }

        await _beginGate.WaitAsync(cancellationToken);
        try
        {
            ThrowIfLatched();
            if (!_writing && !_moving)
            {
                await LatchingAsync(_leaf.BeginWritingAsync(contentChanges: false, CancellationToken.None));
            }

            _moving = true;
        }
        finally
        {
            _beginGate.Release();
        }
    }

    private static async ValueTask<(long Length, bool IsHole)> MapRunAsync(BlockRun run, CancellationToken cancellationToken)
    {
        var stored = await run.Store!.MapAsync(run.StoreOffset, run.Length, cancellationToken);
        return (stored.Length, stored.IsHole);
    }

    /// <summary>Whether the parents show the same as the leaf.</summary>
    private async ValueTask<bool> ParentsHoldAsync(long offset, ReadOnlyMemory<byte> own, bool ownIsZero, byte[] buffer, CancellationToken cancellationToken)
    {
        for (var done = 0; done < own.Length;)
        {
            var (run, _) = await _parents.ResolveAsync(offset + done, own.Length - done, cancellationToken);
            var expected = own.Slice(done, (int)run.Length);
            if (run.Kind == RunKind.Data)
            {
                var bytes = buffer.AsMemory(0, expected.Length);
                await run.Store!.ReadAsync(run.StoreOffset, bytes, cancellationToken);

                // Of a hole nothing was read, so that the bytes are not there to compare.
                if (ownIsZero ? bytes.Span.ContainsAnyExcept((byte)0) : !bytes.Span.SequenceEqual(expected.Span))
                {
                    return false;
                }
            }
            else if (!ownIsZero && expected.Span.ContainsAnyExcept((byte)0))
            {
                return false;
            }

            done += expected.Length;
        }

        return true;
    }

    /// <summary>Fills a reservation with what the leaf itself holds of the unit; zeros are there already.</summary>
    private async ValueTask CopyOwnAsync(Reservation reservation, CancellationToken cancellationToken)
    {
        var buffer = ArrayPool<byte>.Shared.Rent((int)Math.Min(CopyPiece, reservation.Length));
        try
        {
            for (var at = reservation.Start; at < reservation.End;)
            {
                var run = await _leaf.ResolveAsync(at, Math.Min(reservation.End - at, buffer.Length), cancellationToken);
                var length = run.Length;
                if (run.Kind == RunKind.Data)
                {
                    (length, var isHole) = await MapRunAsync(run, cancellationToken);
                    var part = buffer.AsMemory(0, (int)length);
                    if (!isHole)
                    {
                        await run.Store!.ReadAsync(run.StoreOffset, part, cancellationToken);
                        await reservation.Store.WriteAsync(reservation.StoreOffset + (at - reservation.Start), part, cancellationToken);
                    }
                }

                at += length;
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    /// <summary>Reserves, after a flush where released space has to become free first.</summary>
    private async ValueTask<Reservation> ReserveAsync(long offset, CancellationToken cancellationToken)
    {
        while (true)
        {
            try
            {
                return await _leaf.ReserveAsync(offset, cancellationToken);
            }
            catch (DiskException e) when (e.Kind == ErrorKind.NoSpace && _leaf.HasUnflushedRoom)
            {
                _dirty = true;
                await FlushCoreAsync(cancellationToken);
            }
        }
    }
}
