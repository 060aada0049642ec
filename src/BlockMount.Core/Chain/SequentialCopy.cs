using System.Buffers;
using System.Runtime.CompilerServices;
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
        await OrderedWork.RunAsync(PiecesAsync(source, target, cancellationToken), TakeAsync, cancellationToken);
        await target.CompleteAsync(cancellationToken);
        progress?.Report(source.Length);

        async ValueTask TakeAsync(EncodedPiece piece, CancellationToken token)
        {
            foreach (var (offset, bytes) in piece.Units)
            {
                await target.AppendAsync(offset, bytes, token);
            }

            progress?.Report(piece.End);
        }
    }

    private static async IAsyncEnumerable<Func<CancellationToken, Task<EncodedPiece>>> PiecesAsync(
        BlockDevice source, SequentialImage target, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        for (var at = await SkipZeroAsync(source, 0, target.UnitSize, cancellationToken); at < source.Length;)
        {
            var start = at;
            var length = (int)Math.Min(Math.Max(Piece, target.UnitSize), source.Length - at);
            yield return token => EncodeAsync(source, target, start, length, token);
            at = await SkipZeroAsync(source, at + length, target.UnitSize, cancellationToken);
        }
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

    private readonly record struct EncodedPiece(long End, List<(long Offset, ReadOnlyMemory<byte> Bytes)> Units);
}
