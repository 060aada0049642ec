using System.Buffers;
using BlockMount.Core.Storage;

namespace BlockMount.Core.Chain;

/// <summary>Copies a whole file of an image, holes as holes, and makes the copy durable.</summary>
internal static class FileCopy
{
    private const int Piece = 1 << 20;

    /// <param name="source">The file.</param>
    /// <param name="target">A new, empty one.</param>
    /// <param name="keepAllocated">Whether the copy has all its space from the beginning.</param>
    /// <param name="done">Told the bytes of each piece, holes included.</param>
    /// <param name="cancellationToken">Stops between pieces; the copy is then incomplete.</param>
    public static async Task RunAsync(ByteStore source, ByteStore target, bool keepAllocated, Action<long> done, CancellationToken cancellationToken)
    {
        await target.SetLengthAsync(source.Length, cancellationToken);
        if (keepAllocated)
        {
            await target.AllocateAsync(0, source.Length, cancellationToken);
        }

        var buffer = ArrayPool<byte>.Shared.Rent(Piece);
        try
        {
            for (long at = 0; at < source.Length;)
            {
                cancellationToken.ThrowIfCancellationRequested();
                var run = await source.MapAsync(at, source.Length - at, cancellationToken);
                var length = run.IsHole ? run.Length : Math.Min(run.Length, Piece);
                if (!run.IsHole)
                {
                    var part = buffer.AsMemory(0, (int)length);
                    await source.ReadAsync(at, part, cancellationToken);
                    await target.WriteAsync(at, part, cancellationToken);
                }

                at += length;
                done(length);
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }

        await target.FlushAsync(cancellationToken);
    }
}
