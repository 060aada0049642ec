using System.Collections.Concurrent;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vhd.VhdConstants;

namespace BlockMount.Core.Formats.Vhd;

/// <summary>
/// The sector bitmaps of allocated blocks, read when first asked for. A bit that is set says that this image holds the sector; the
/// first sector is the highest bit of the first byte. Almost every block is full, and a full block costs one byte of memory. The arrays
/// handed out never change: a change makes a new one.
/// </summary>
internal sealed class VhdBitmaps(ByteStore store, int bitmapSize, int blockSize, int blockCount, long diskSize)
{
    private const byte Unknown = 0;
    private const byte Full = 1;
    private const byte Partial = 2;

    private readonly byte[] _states = new byte[blockCount];
    private readonly ConcurrentDictionary<int, byte[]> _partial = new();
    private readonly Lock _lock = new();
    
    /// <summary>By byte offset of the bitmap: a block may move before they are written.</summary>
    private Dictionary<long, byte[]> _pending = [];

    /// <summary>Whether the block is known to hold all its sectors.</summary>
    public bool IsFull(int block) => Volatile.Read(ref _states[block]) == Full;

    /// <summary>The bitmap of a block that lacks sectors; null when it lacks none.</summary>
    /// <param name="block">Index of an allocated block.</param>
    /// <param name="position">Byte offset of its bitmap.</param>
    /// <param name="cancellationToken">Stops the read.</param>
    public ValueTask<byte[]?> FindAsync(int block, long position, CancellationToken cancellationToken)
    {
        if (IsFull(block))
        {
            return new((byte[]?)null);
        }

        return _partial.TryGetValue(block, out var bits) ? new(bits) : LoadAsync(block, position, cancellationToken);
    }

    /// <summary>Notes that a block that is about to get its place holds every sector.</summary>
    public void SetFull(int block) => Volatile.Write(ref _states[block], Full);

    /// <summary>Notes that a block, whose bitmap has been found before, now holds these sectors too; in the file with the next flush.</summary>
    /// <param name="block">Index of the block.</param>
    /// <param name="position">Byte offset of its bitmap.</param>
    /// <param name="first">First sector.</param>
    /// <param name="count">Sectors.</param>
    public void SetPresent(int block, long position, int first, int count)
    {
        lock (_lock)
        {
            var bits = (byte[])_partial[block].Clone();
            for (var i = first; i < first + count; i++)
            {
                bits[i / 8] |= (byte)(0x80 >> (i % 8));
            }

            _pending[position] = bits;
            _partial[block] = bits;
            if (IsWhole(block, bits))
            {
                Volatile.Write(ref _states[block], Full);
                _partial.TryRemove(block, out _);
            }
        }
    }

    /// <summary>Notes that a block has no place any more.</summary>
    public void Forget(int block)
    {
        lock (_lock)
        {
            Volatile.Write(ref _states[block], Unknown);
            _partial.TryRemove(block, out _);
        }
    }

    /// <summary>
    /// Takes the bitmaps changed so far, by byte offset, as they are now. Taken after the table's changes they are those of every place that
    /// these leave, so that none is written once the place is used again.
    /// </summary>
    public KeyValuePair<long, byte[]>[] TakeChanges()
    {
        lock (_lock)
        {
            if (_pending.Count == 0)
            {
                return [];
            }

            var taken = _pending.ToArray();
            _pending = [];
            return taken;
        }
    }

    /// <summary>Sectors from <paramref name="sector"/> on, below <paramref name="end"/>, whose bit is the same.</summary>
    public static (bool Present, int Count) RunAt(byte[] bits, int sector, int end)
    {
        var present = IsSet(bits, sector);
        var same = present ? (byte)0xFF : (byte)0;
        var at = sector + 1;
        while (at < end)
        {
            if (at % 8 == 0 && bits[at / 8] == same)
            {
                at += 8;
            }
            else if (IsSet(bits, at) == present)
            {
                at++;
            }
            else
            {
                break;
            }
        }

        return (present, Math.Min(at, end) - sector);
    }

    /// <summary>First of the sectors in a row up to <paramref name="sector"/> that are all missing, as it is.</summary>
    public static int FirstMissing(byte[] bits, int sector)
    {
        while (sector > 0 && !IsSet(bits, sector - 1))
        {
            sector--;
        }

        return sector;
    }

    /// <summary>A bitmap of a block that holds every sector; the padding behind its bits stays zero.</summary>
    public static byte[] AllPresent(int bitmapSize, int blockSize)
    {
        var bits = new byte[bitmapSize];
        bits.AsSpan(0, blockSize / SectorSize / 8).Fill(0xFF);
        return bits;
    }

    private static bool IsSet(byte[] bits, int sector) => (bits[sector / 8] & (0x80 >> (sector % 8))) != 0;

    private async ValueTask<byte[]?> LoadAsync(int block, long position, CancellationToken cancellationToken)
    {
        var bits = new byte[bitmapSize];
        await store.ReadAsync(position, bits, cancellationToken);
        lock (_lock)
        {
            // Another caller may have read it first, and set bits since.
            if (_states[block] == Unknown)
            {
                if (IsWhole(block, bits))
                {
                    Volatile.Write(ref _states[block], Full);
                }
                else
                {
                    _partial[block] = bits;
                    Volatile.Write(ref _states[block], Partial);
                }
            }

            return _partial.GetValueOrDefault(block);
        }
    }

    /// <summary>Whether no sector of the block that lies on the disk is missing.</summary>
    private bool IsWhole(int block, byte[] bits)
    {
        var sectors = (int)((Math.Min(blockSize, diskSize - ((long)block * blockSize)) + SectorSize - 1) / SectorSize);
        return RunAt(bits, 0, sectors) == (true, sectors);
    }
}
