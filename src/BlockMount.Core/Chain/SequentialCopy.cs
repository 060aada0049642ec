using System.Buffers;
using BlockMount.Core.Devices;
using BlockMount.Core.Formats;

namespace BlockMount.Core.Chain;

/// <summary>Copies a disk's content to an image that is written from its start to its end, encoding on every processor.</summary>
public static class SequentialCopy
{
    private const int Piece = 1 << 20;

    /// <summary>Copies all of <paramref name="source"/> but what is zero, and completes the image.</summary>
    /// <param name="source">Read only through its map and reads.</param>
    /// <param name="target">Begun, with nothing appended.</param>
    /// <param name="progress">Told the number of bytes done.</param>
    /// <param name="cancellationToken">Stops between pieces; the image is then incomplete.</param>
    /// <exception cref="Errors.DiskException">The disk or the image's file failed.</exception>
    public static async Task CopyAsync(
        BlockDevice source, SequentialImage target, IProgress<long>? progress = null, CancellationToken cancellationToken = default)
    {
        // A waiting piece is encoded already, so that processors do not idle while the oldest is written.
        var most = Environment.ProcessorCount + 2;
        var pieces = new Queue<Task<EncodedPiece>>();
        using var failed = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        try
        {
            for (var at = await SkipZeroAsync(source, 0, target.UnitSize, failed.Token); at < source.Length;)
            {
                var start = at;
                var length = (int)Math.Min(Math.Max(Piece, target.UnitSize), source.Length - at);
                pieces.Enqueue(Task.Run(() => EncodeAsync(source, target, start, length, failed.Token), failed.Token));
                if (pieces.Count == most)
                {
                    await AppendAsync(target, await pieces.Dequeue(), progress, failed.Token);
                }

                at = await SkipZeroAsync(source, at + length, target.UnitSize, failed.Token);
            }

            while (pieces.TryDequeue(out var piece))
            {
                await AppendAsync(target, await piece, progress, failed.Token);
            }
        }
        catch
        {
            await failed.CancelAsync();
            throw;
        }
        finally
        {
            // After a failure the others end too, before their source is closed; what became of them does not matter any more.
            await Task.WhenAll(pieces).ContinueWith(static _ => { }, CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
        }

        await target.CompleteAsync(cancellationToken);
        progress?.Report(source.Length);
    }

    /// <summary>The first unit from <paramref name="at"/>, a multiple of the unit size, that is not known to be zero.</summary>
    private static async ValueTask<long> SkipZeroAsync(BlockDevice source, long at, int unit, CancellationToken cancellationToken)
    {
        while (at < source.Length)
        {
            var extent = await source.MapAsync(at, source.Length - at, cancellationToken);
            var end = extent.End == source.Length ? extent.End : extent.End / unit * unit;
            if (!extent.IsZero || end <= at)
            {
                break;
            }

            at = end;
        }

        return at;
    }

    private static async Task<EncodedPiece> EncodeAsync(BlockDevice source, SequentialImage target, long at, int length, CancellationToken cancellationToken)
    {
        var unit = target.UnitSize;
        var units = new List<(long Offset, ReadOnlyMemory<byte> Bytes)>();
        var padded = (length + unit - 1) / unit * unit;
        var buffer = ArrayPool<byte>.Shared.Rent(padded);
        try
        {
            await source.ReadAsync(at, buffer.AsMemory(0, length), cancellationToken);
            buffer.AsSpan(length, padded - length).Clear();
            for (var from = 0; from < padded; from += unit)
            {
                var bytes = buffer.AsMemory(from, unit);
                if (bytes.Span.ContainsAnyExcept((byte)0))
                {
                    units.Add((at + from, target.Encode(at + from, bytes)));
                }
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }

        return new EncodedPiece(at + length, units);
    }

    private static async ValueTask AppendAsync(SequentialImage target, EncodedPiece piece, IProgress<long>? progress, CancellationToken cancellationToken)
    {
        foreach (var (offset, bytes) in piece.Units)
        {
            await target.AppendAsync(offset, bytes, cancellationToken);
        }

        progress?.Report(piece.End);
    }

    private readonly record struct EncodedPiece(long End, List<(long Offset, ReadOnlyMemory<byte> Bytes)> Units);
}
