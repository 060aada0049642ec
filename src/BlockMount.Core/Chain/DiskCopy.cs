using System.Buffers;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;

namespace BlockMount.Core.Chain;

/// <summary>Copies a disk's content to another disk, leaving out what is zero.</summary>
public static class DiskCopy
{
    private const int Piece = 1 << 20;
    private const int InFlight = 4;

    /// <summary>
    /// Copies all of <paramref name="source"/> to the start of <paramref name="target"/>, which must read as zero, and flushes it.
    /// </summary>
    /// <param name="source">Read only through its map and reads.</param>
    /// <param name="target">At least as long.</param>
    /// <param name="progress">Told the number of bytes done, in growing order per piece; pieces may finish out of order.</param>
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

        using var failed = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        using var slots = new SemaphoreSlim(InFlight);
        var copies = new List<Task>();
        long done = 0;
        try
        {
            for (long at = 0; at < source.Length;)
            {
                var extent = await source.MapAsync(at, source.Length - at, failed.Token);
                if (extent.IsZero)
                {
                    at = extent.End;
                    progress?.Report(Interlocked.Add(ref done, extent.Length));
                    continue;
                }

                // Pieces keep to multiples of their size, so that each fills whole blocks of the target.
                var length = (int)Math.Min(extent.End - at, Piece - (at % Piece));
                await slots.WaitAsync(failed.Token);
                copies.RemoveAll(static c => c.IsCompletedSuccessfully);
                copies.Add(CopyPieceAsync(at, length));
                at += length;
            }
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            // A piece failed; its exception comes out of the wait below.
        }
        finally
        {
            await Task.WhenAll(copies);
        }

        await target.FlushAsync(cancellationToken);

        async Task CopyPieceAsync(long at, int length)
        {
            var buffer = ArrayPool<byte>.Shared.Rent(length);
            try
            {
                await Task.Yield();
                await source.ReadAsync(at, buffer.AsMemory(0, length), failed.Token);
                await WriteUnlessZeroAsync(target, at, buffer.AsMemory(0, length), failed.Token);
                progress?.Report(Interlocked.Add(ref done, length));
            }
            catch
            {
                await failed.CancelAsync();
                throw;
            }
            finally
            {
                ArrayPool<byte>.Shared.Return(buffer);
                slots.Release();
            }
        }
    }

    private static ValueTask WriteUnlessZeroAsync(BlockDevice target, long at, ReadOnlyMemory<byte> data, CancellationToken cancellationToken) =>
        data.Span.ContainsAnyExcept((byte)0) ? target.WriteAsync(at, data, WriteOptions.None, cancellationToken) : ValueTask.CompletedTask;
}
