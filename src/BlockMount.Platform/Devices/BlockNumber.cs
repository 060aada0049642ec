using System.Globalization;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Devices;

/// <summary>What the kernel calls a block device, whatever its nodes are called.</summary>
internal readonly record struct BlockNumber(uint Major, uint Minor)
{
    /// <param name="device">As in <c>st_dev</c> and <c>st_rdev</c> of Linux: gnu_dev_major(3) and gnu_dev_minor(3).</param>
    public static BlockNumber From(ulong device) => new(
        (uint)(((device >> 8) & 0xfff) | ((device >> 32) & ~0xffful)), (uint)((device & 0xff) | ((device >> 12) & 0xffffff00)));

    /// <summary>That of the block device with such a name, links followed; null when there is none.</summary>
    public static unsafe BlockNumber? OfNode(string path)
    {
        // Safe: the local's own address, for the call.
        FileFacts facts;
        return path.Length > 0 && !path.Contains('\0', StringComparison.Ordinal)
            && Shim.FactsOfPath(path, 1, &facts) == 0 && facts.Type == FileType.BlockDevice ? From(facts.Represents) : null;
    }

    /// <summary>Of "8:17"; null of anything else.</summary>
    public static BlockNumber? Parse(ReadOnlySpan<char> text)
    {
        var colon = text.IndexOf(':');
        return colon > 0
            && uint.TryParse(text[..colon], NumberStyles.None, CultureInfo.InvariantCulture, out var major)
            && uint.TryParse(text[(colon + 1)..], NumberStyles.None, CultureInfo.InvariantCulture, out var minor)
            ? new(major, minor) : null;
    }

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Major}:{Minor}");
}
