using System.Buffers;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;

namespace BlockMount.Core.Chain;

/// <summary>
/// Gives the leaf of a chain another size, and changes no byte that the disk had and keeps. Bytes that are new read as zero, whatever the parents hold there;
/// a disk gets smaller only by bytes that read as zero. Children of the leaf keep their own size and stay as they are: what they inherit from behind its
/// end is zero before and after, and its identity is the same.
/// </summary>
public static class ChainResize
{
    private const int Piece = 1 << 20;

    /// <summary>Whether <see cref="ResizeAsync"/> would carry out the change, which takes reading what lies behind the smaller end. Changes nothing.</summary>
    /// <param name="chain">The disk; nobody writes to it meanwhile.</param>
    /// <param name="capacity">Bytes, a positive multiple of 512.</param>
    /// <param name="progress">Told the bytes looked at, in growing order, up to the difference of the sizes.</param>
    /// <param name="cancellationToken">Stops between pieces.</param>
    /// <exception cref="DiskException">
    /// <see cref="ErrorKind.InvalidArgument"/>: the format cannot do it, bytes would be lost, or bytes of a parent would appear. <see cref="ErrorKind.ReadOnly"/>, or
    /// a failure of the host.
    /// </exception>
    public static async Task CheckAsync(DiskChain chain, long capacity, IProgress<long>? progress = null, CancellationToken cancellationToken = default)
    {
        var leaf = chain.Layers[^1];
        await leaf.CheckResizeAsync(capacity, cancellationToken);
        if (capacity < chain.Length)
        {
            await RequireZeroBehindAsync(chain, capacity, progress, cancellationToken);
        }
        else
        {
            await RequireZeroParentsAsync(chain, capacity, progress, cancellationToken);
        }

        progress?.Report(Math.Abs(capacity - chain.Length));
    }

    /// <summary>Checks the change and makes it, durably. The chain shows the old size and takes no change afterwards; close it and open it again.</summary>
    /// <param name="chain">The disk; nobody else uses it meanwhile.</param>
    /// <param name="capacity">Bytes, a positive multiple of 512.</param>
    /// <param name="progress">As for <see cref="CheckAsync"/>.</param>
    /// <param name="cancellationToken">Stops between pieces; the disk then has the old or the new size, and every byte of both.</param>
    /// <exception cref="DiskException">As <see cref="CheckAsync"/>; nothing has changed when it is of that kind.</exception>
    public static async Task ResizeAsync(DiskChain chain, long capacity, IProgress<long>? progress = null, CancellationToken cancellationToken = default)
    {
        await CheckAsync(chain, capacity, progress, cancellationToken);
        await chain.FlushAsync(cancellationToken);
        if (capacity == chain.Length)
        {
            return;
        }

        // Ended, failed or stopped: tables and blocks may lie elsewhere now.
        chain.Retire("its size was changed");
        await chain.Layers[^1].ResizeAsync(capacity, progress: null, cancellationToken);
    }

    private static async Task RequireZeroBehindAsync(DiskChain chain, long capacity, IProgress<long>? progress, CancellationToken cancellationToken)
    {
        long? last = null;
        var buffer = ArrayPool<byte>.Shared.Rent(Piece);
        try
        {
            for (var at = capacity; at < chain.Length;)
            {
                var extent = await chain.MapAsync(at, chain.Length - at, cancellationToken);
                var length = extent.IsZero ? extent.Length : Math.Min(extent.Length, Piece);
                if (!extent.IsZero)
                {
                    await chain.ReadAsync(at, buffer.AsMemory(0, (int)length), cancellationToken);
                    var found = buffer.AsSpan(0, (int)length).LastIndexOfAnyExcept((byte)0);
                    last = found < 0 ? last : at + found;
                }

                at += length;
                progress?.Report(at - capacity);
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }

        ResizeRules.Require(chain.Name, last is null,
            $"it cannot get smaller than {last + 1} bytes, to {capacity}: byte {last} is the last that is not zero; move what lies there (partitions, file systems), or make it zero.");
    }

    /// <summary>Behind the leaf's end its parents were not seen; a leaf that holds nothing there would show them.</summary>
    private static async Task RequireZeroParentsAsync(DiskChain chain, long capacity, IProgress<long>? progress, CancellationToken cancellationToken)
    {
        var parents = new ParentMap(chain.Layers.Take(chain.Layers.Count - 1).ToArray(), capacity);
        var buffer = ArrayPool<byte>.Shared.Rent(Piece);
        try
        {
            for (var at = chain.Length; at < capacity && !parents.IsEmpty;)
            {
                var (run, layer) = await parents.ResolveAsync(at, capacity - at, cancellationToken);
                var length = run.Kind == RunKind.Data ? Math.Min(run.Length, Piece) : run.Length;
                if (run.Kind == RunKind.Data)
                {
                    await run.Store!.ReadAsync(run.StoreOffset, buffer.AsMemory(0, (int)length), cancellationToken);
                    var found = buffer.AsSpan(0, (int)length).IndexOfAnyExcept((byte)0);
                    ResizeRules.Require(chain.Name, found < 0,
                        $"it cannot grow to {capacity} bytes: its parent {chain.Layers[layer].Path} has a byte that is not zero at {at + found}, behind the present end at {chain.Length}, and it would appear; allowed are up to {(at + found) / 512 * 512} bytes, or convert the disk with --size.");
                }

                at += length;
                progress?.Report(at - chain.Length);
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }
}
