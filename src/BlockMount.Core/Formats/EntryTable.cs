using System.Buffers.Binary;
using System.Runtime.InteropServices;
using BlockMount.Core.Storage;

namespace BlockMount.Core.Formats;

/// <summary>Tables of 32-bit entries, as they lie in a file.</summary>
internal static class EntryTable
{
    private const int LoadPiece = 1 << 20;

    /// <summary>Reads entries piece by piece.</summary>
    /// <param name="store">The image's file.</param>
    /// <param name="offset">Byte of the file where the first one lies.</param>
    /// <param name="bigEndian">Byte order of an entry.</param>
    /// <param name="entries">Filled.</param>
    /// <param name="check">
    /// Told the range of entries of each piece when it is read, so that a table in a hole of a sparse file is refused before it takes memory.
    /// </param>
    /// <param name="cancellationToken">Stops between pieces.</param>
    public static async ValueTask ReadAsync(
        ByteStore store, long offset, bool bigEndian, uint[] entries, Action<int, int>? check, CancellationToken cancellationToken)
    {
        var piece = new byte[(int)Math.Min(LoadPiece, 4L * entries.Length)];
        for (var done = 0; done < entries.Length;)
        {
            var count = Math.Min(piece.Length / 4, entries.Length - done);
            await store.ReadAsync(offset + (4L * done), piece.AsMemory(0, count * 4), cancellationToken);
            MemoryMarshal.Cast<byte, uint>(piece.AsSpan(0, count * 4)).CopyTo(entries.AsSpan(done));
            if (BitConverter.IsLittleEndian == bigEndian)
            {
                BinaryPrimitives.ReverseEndianness(entries.AsSpan(done, count), entries.AsSpan(done, count));
            }

            check?.Invoke(done, done + count);
            done += count;
        }
    }

    /// <summary>Writes changed entries, neighbours together.</summary>
    /// <param name="store">The image's file.</param>
    /// <param name="offset">Byte of the file where entry 0 lies.</param>
    /// <param name="bigEndian">Byte order of an entry.</param>
    /// <param name="changes">In table order.</param>
    /// <param name="cancellationToken">Stops between writes.</param>
    public static async ValueTask WriteAsync(
        ByteStore store, long offset, bool bigEndian, KeyValuePair<int, uint>[] changes, CancellationToken cancellationToken)
    {
        var bytes = new byte[4 * changes.Length];
        for (var first = 0; first < changes.Length;)
        {
            var count = 0;
            do
            {
                var value = changes[first + count].Value;
                BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(4 * count), bigEndian ? BinaryPrimitives.ReverseEndianness(value) : value);
                count++;
            }
            while (first + count < changes.Length && changes[first + count].Key == changes[first].Key + count);

            await store.WriteAsync(offset + (4L * changes[first].Key), bytes.AsMemory(0, 4 * count), cancellationToken);
            first += count;
        }
    }
}
