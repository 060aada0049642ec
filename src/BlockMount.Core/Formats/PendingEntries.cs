using System.Buffers.Binary;
using BlockMount.Core.Storage;

namespace BlockMount.Core.Formats;

/// <summary>
/// Changes to a table of 32-bit entries that wait for the flush that makes them durable, as pairs of index and value: an entry may change
/// again before it is written, and that later value's content may not be durable yet. Its owner's lock guards it.
/// </summary>
internal sealed class PendingEntries
{
    private Dictionary<int, uint> _changes = [];

    public void Set(int index, uint value) => _changes[index] = value;

    /// <summary>Takes the changes made so far, in table order.</summary>
    public KeyValuePair<int, uint>[] Take()
    {
        if (_changes.Count == 0)
        {
            return [];
        }

        var changes = _changes.ToArray();
        _changes = [];
        Array.Sort(changes, static (a, b) => a.Key.CompareTo(b.Key));
        return changes;
    }

    /// <summary>Writes taken changes, neighbours together.</summary>
    /// <param name="store">The image's file.</param>
    /// <param name="tableOffset">Byte of the file where the table starts.</param>
    /// <param name="bigEndian">Byte order of an entry.</param>
    /// <param name="changes">From <see cref="Take"/>.</param>
    /// <param name="cancellationToken">Stops between writes.</param>
    public static async ValueTask WriteAsync(
        ByteStore store, long tableOffset, bool bigEndian, KeyValuePair<int, uint>[] changes, CancellationToken cancellationToken)
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

            await store.WriteAsync(tableOffset + (4L * changes[first].Key), bytes.AsMemory(0, 4 * count), cancellationToken);
            first += count;
        }
    }
}
