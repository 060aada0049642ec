using System.Buffers;
using System.Runtime.CompilerServices;
using BlockMount.Core.Devices;
using BlockMount.Core.Formats;

namespace BlockMount.Core.Chain;

/// <summary>Moves what some images of a chain hold into another one of it. The disk that the whole chain shows stays the same at every moment.</summary>
internal static class MergeCopy
{
    private const int Piece = 1 << 20;

    /// <summary>Writes what the images behind <paramref name="target"/>'s leaf hold into that leaf, the newest image deciding.</summary>
    /// <param name="layers">The whole chain.</param>
    /// <param name="last">Index of the newest image that is merged; those from the target's leaf on up to it are.</param>
    /// <param name="target">The images up to the one that takes the content, which is its leaf.</param>
    /// <param name="offset">First byte of the range.</param>
    /// <param name="length">Bytes, inside the newest image and inside the target.</param>
    /// <param name="progress">Told the offsets that are done, in growing order.</param>
    /// <param name="cancellationToken">Stops between pieces.</param>
    public static Task IntoParentAsync(
        IReadOnlyList<ImageLayer> layers, int last, DiskChain target, long offset, long length, IProgress<long>? progress, CancellationToken cancellationToken)
    {
        return OrderedWork.RunAsync(PiecesAsync(cancellationToken), TakeAsync, cancellationToken);

        async IAsyncEnumerable<Func<CancellationToken, Task<(long At, long Length, byte[]? Buffer)>>> PiecesAsync([EnumeratorCancellation] CancellationToken token)
        {
            var end = offset + length;
            for (var at = offset; at < end;)
            {
                var (run, layer) = await LayerStack.ResolveAsync(layers, target.Layers.Count, last, at, end - at, token);
                if (layer == LayerStack.Nobody)
                {
                    at += run.Length;
                    continue;
                }

                var (start, count) = (at, run.Length);
                var isHole = run.Kind != RunKind.Data;
                if (!isHole)
                {
                    var stored = await run.Store!.MapAsync(run.StoreOffset, run.Length, token);
                    isHole = stored.IsHole;
                    count = isHole ? stored.Length : Math.Min(stored.Length, Piece - (at % Piece));
                }

                yield return isHole
                    ? _ => Task.FromResult((start, count, (byte[]?)null))
                    : async cancel =>
                    {
                        var buffer = ArrayPool<byte>.Shared.Rent((int)count);
                        await run.Store!.ReadAsync(run.StoreOffset, buffer.AsMemory(0, (int)count), cancel);
                        return (start, count, buffer);
                    };
                at += count;
            }
        }

        async ValueTask TakeAsync((long At, long Length, byte[]? Buffer) piece, CancellationToken token)
        {
            if (piece.Buffer is { } buffer)
            {
                await WriteAsync(target, piece.At, buffer.AsMemory(0, (int)piece.Length), token);
                ArrayPool<byte>.Shared.Return(buffer);
            }
            else
            {
                await target.ZeroAsync(piece.At, piece.Length, WriteOptions.None, token);
            }

            progress?.Report(piece.At + piece.Length);
        }
    }

    /// <summary>Makes the leaf of <paramref name="target"/> hold what the images from <paramref name="first"/> on show where it holds nothing itself.</summary>
    /// <param name="target">The images up to the one that takes the content, which is its leaf.</param>
    /// <param name="first">Index of the oldest image that is merged.</param>
    /// <param name="progress">Told the offsets that are done, in growing order.</param>
    /// <param name="cancellationToken">Stops between pieces.</param>
    public static Task IntoChildAsync(DiskChain target, int first, IProgress<long>? progress, CancellationToken cancellationToken)
    {
        var layers = target.Layers;
        var (leaf, parents) = (layers[^1], layers.Count - 2);
        return OrderedWork.RunAsync(PiecesAsync(cancellationToken), TakeAsync, cancellationToken);

        async IAsyncEnumerable<Func<CancellationToken, Task<long>>> PiecesAsync([EnumeratorCancellation] CancellationToken token)
        {
            for (long at = 0; at < target.Length;)
            {
                var run = await leaf.ResolveAsync(at, target.Length - at, token);
                if (run.Kind == RunKind.Parent)
                {
                    (run, var layer) = await LayerStack.ResolveAsync(layers, first, parents, at, run.Length, token);

                    // Where the last of the images goes that the leaf stands on, what nobody holds is zero by itself.
                    if (layer != LayerStack.Nobody && (first > 0 || run.Kind == RunKind.Data))
                    {
                        var (start, count) = (at, Math.Min(run.Length, Piece - (at % Piece)));
                        yield return async cancel =>
                        {
                            await target.AdoptAsync(start, count, cancel);
                            return start + count;
                        };
                        at += count;
                        continue;
                    }
                }

                at += run.Length;
            }
        }

        ValueTask TakeAsync(long done, CancellationToken token)
        {
            progress?.Report(done);
            return ValueTask.CompletedTask;
        }
    }

    /// <summary>Zeros go as zeros, which may cost no file space.</summary>
    private static async ValueTask WriteAsync(DiskChain target, long at, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        foreach (var (from, end, isZero) in ZeroStretches.Of(at, data))
        {
            if (isZero)
            {
                await target.ZeroAsync(at + from, end - from, WriteOptions.None, cancellationToken);
            }
            else
            {
                await target.WriteAsync(at + from, data[from..end], WriteOptions.None, cancellationToken);
            }
        }
    }
}
