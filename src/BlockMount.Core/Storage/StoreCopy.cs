using System.Buffers;

namespace BlockMount.Core.Storage;

/// <summary>Copies bytes inside one store.</summary>
internal static class StoreCopy
{
    private const int Piece = 1 << 20;

    /// <param name="store">The store.</param>
    /// <param name="from">First byte of what is copied; all of it lies in the store.</param>
    /// <param name="to">Where it goes; the two do not overlap.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="cancellationToken">Stops between pieces.</param>
    public static async ValueTask CopyAsync(ByteStore store, long from, long to, long length, CancellationToken cancellationToken)
    {
        if (length <= 0)
        {
            return;
        }

        var buffer = ArrayPool<byte>.Shared.Rent((int)Math.Min(Piece, length));
        try
        {
            for (long done = 0; done < length;)
            {
                var part = buffer.AsMemory(0, (int)Math.Min(buffer.Length, length - done));
                await store.ReadAsync(from + done, part, cancellationToken);
                await store.WriteAsync(to + done, part, cancellationToken);
                done += part.Length;
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }
}
