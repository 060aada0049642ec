using BlockMount.Core.Devices;

namespace BlockMount.Core.Partitions;

/// <summary>Small reads inside a disk, limited in total, so that a hostile table cannot make reading it expensive.</summary>
/// <param name="device">Where to read.</param>
/// <param name="budget">Bytes that may be read altogether.</param>
internal sealed class BoundedReader(BlockDevice device, long budget = BoundedReader.DefaultBudget)
{
    public const long DefaultBudget = 4L << 20;

    private long _left = budget;

    public long Length => device.Length;

    /// <summary>Whether a read was refused because the total was used up.</summary>
    public bool IsSpent { get; private set; }

    /// <summary>The bytes, or null when they are not all inside the disk or the total is used up.</summary>
    public async ValueTask<byte[]?> ReadAsync(long offset, int count, CancellationToken cancellationToken)
    {
        if (offset < 0 || count < 0 || count > Length || offset > Length - count)
        {
            return null;
        }

        var mask = device.Alignment - 1L;
        var head = (int)(offset & mask);
        var tail = (int)(-(offset + count) & mask);
        if (tail > Length - offset - count)
        {
            return null;
        }

        var cost = head + count + tail;
        if (cost > _left)
        {
            IsSpent = true;
            return null;
        }

        _left -= cost;
        var bytes = new byte[cost];
        await device.ReadAsync(offset - head, bytes, cancellationToken);
        return cost == count ? bytes : bytes[head..(head + count)];
    }
}
