using System.Buffers;
using System.Runtime.CompilerServices;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;

namespace BlockMount.Core.Chain;

/// <summary>Copies a disk's content to another disk, leaving out what is zero.</summary>
public static class DiskCopy
{
    private const int Piece = 1 << 20;
    private const int FlushEvery = 64 << 20;

    /// <summary>
    /// Copies all of <paramref name="source"/> to the start of <paramref name="target"/>, which must read as zero, and flushes it.
    /// </summary>
    /// <param name="source">Read only through its map and reads.</param>
    /// <param name="target">At least as long.</param>
    /// <param name="progress">Told the number of bytes done, in growing order.</param>
    /// <param name="cancellationToken">Stops between pieces; the target is then incomplete.</param>
    /// <exception cref="DiskException">The target is too small, or either disk failed.</exception>
    public static async Task CopyAsync(
        BlockDevice source, BlockDevice target, IProgress<long>? progress = null, CancellationToken cancellationToken = default)
    {
        if (target.Length < source.Length)
        {
            throw new DiskException(
                ErrorKind.OutOfRange, $"{target.Name}: it holds {target.Length} bytes, too few for the {source.Length} of {source.Name}.");
        }

        var flushing = Task.CompletedTask;
        long unflushed = 0;
        try
        {
            await OrderedWork.RunAsync(PiecesAsync(source, cancellationToken), TakeAsync, cancellationToken);
        }
        catch
        {
            // It must have ended before the target is closed; how does not matter any more.
            await flushing.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            throw;
        }

        await flushing;
        await target.FlushAsync(cancellationToken);
        progress?.Report(source.Length);

        async ValueTask TakeAsync((long At, int Length, byte[] Buffer) piece, CancellationToken token)
        {
            await WriteUnlessZeroAsync(target, piece.At, piece.Buffer.AsMemory(0, piece.Length), token);
            ArrayPool<byte>.Shared.Return(piece.Buffer);

            // What was written goes to the disk while more is read, so that little is left for the end.
            unflushed += piece.Length;
            if (unflushed >= FlushEvery && flushing.IsCompleted)
            {
                await flushing;
                unflushed = 0;
                flushing = Task.Run(async () => await target.FlushAsync(CancellationToken.None), CancellationToken.None);
            }

            progress?.Report(piece.At + piece.Length);
        }
    }

    private static async IAsyncEnumerable<Func<CancellationToken, Task<(long At, int Length, byte[] Buffer)>>> PiecesAsync(
        BlockDevice source, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        for (long at = 0; at < source.Length;)
        {
            var extent = await source.MapAsync(at, source.Length - at, cancellationToken);
            if (extent.IsZero)
            {
                at = extent.End;
                continue;
            }

            // Pieces keep to multiples of their size, so that each fills whole blocks of the target.
            var start = at;
            var length = (int)Math.Min(extent.End - at, Piece - (at % Piece));
            yield return token => ReadAsync(source, start, length, token);
            at += length;
        }
    }

    private static async Task<(long At, int Length, byte[] Buffer)> ReadAsync(BlockDevice source, long at, int length, CancellationToken cancellationToken)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(length);
        await source.ReadAsync(at, buffer.AsMemory(0, length), cancellationToken);
        return (at, length, buffer);
    }

    /// <summary>Writes what holds something; zeros that the map calls data are left out.</summary>
    private static async ValueTask WriteUnlessZeroAsync(BlockDevice target, long at, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        foreach (var (from, end, _) in ZeroStretches.Of(at, data).Where(static s => !s.IsZero))
        {
            await target.WriteAsync(at + from, data[from..end], WriteOptions.None, cancellationToken);
        }
    }
}
