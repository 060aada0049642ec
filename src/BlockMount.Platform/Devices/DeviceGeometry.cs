namespace BlockMount.Platform.Devices;

/// <summary>What one call on a device moves of a request.</summary>
/// <param name="Start">First byte on the device, a multiple of the sector.</param>
/// <param name="Length">Bytes, a multiple of the sector.</param>
/// <param name="Skip">Bytes of it in front of those that belong to the request.</param>
/// <param name="Count">Bytes that belong to the request.</param>
/// <param name="IsDirect">Whether the request's own memory will do.</param>
internal readonly record struct DevicePiece(long Start, int Length, int Skip, int Count, bool IsDirect)
{
    /// <summary>Bytes of it behind those that belong to the request.</summary>
    public int Rest => Length - Skip - Count;
}

/// <summary>What a device takes: multiples of <paramref name="Sector"/> at addresses that are multiples of <paramref name="Memory"/>; both powers of two.</summary>
/// <param name="Sector">Bytes; 1 where the page cache stands between.</param>
/// <param name="Memory">Bytes, at most <see cref="BounceBuffers.Alignment"/>.</param>
internal readonly record struct DeviceGeometry(int Sector, int Memory)
{
    // Below, one call through a buffer costs less than a call for the odd bytes and another for the rest.
    private const int WorthSplitting = 64 * 1024;

    // A length that an int and every kernel takes in one call.
    private const int LongestDirect = 1 << 30;

    public long Down(long offset) => offset & -(long)Sector;

    public long Up(long offset) => checked(offset + Sector - 1) & -(long)Sector;

    /// <summary>The next piece of a request.</summary>
    /// <param name="offset">First byte that is left.</param>
    /// <param name="length">Bytes left, above 0.</param>
    /// <param name="address">Where the request has them in memory.</param>
    public DevicePiece Next(long offset, long length, nint address)
    {
        var start = Down(offset);
        var skip = (int)(offset - start);
        var whole = Down(length);
        if (skip == 0 && whole > 0 && IsAligned(address))
        {
            var direct = (int)Math.Min(whole, LongestDirect);
            return new(start, direct, 0, direct, true);
        }

        var head = Sector - skip;
        var longest = skip != 0 && length - head >= WorthSplitting && IsAligned(address + head) ? Sector : BounceBuffers.Longest;
        var end = Math.Min(Up(offset + length), start + longest);
        return new(start, (int)(end - start), skip, (int)(Math.Min(end, offset + length) - offset), false);
    }

    private bool IsAligned(nint address) => (address & (Memory - 1)) == 0;
}
