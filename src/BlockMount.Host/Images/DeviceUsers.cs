using BlockMount.Core.Chain;
using BlockMount.Core.Formats;
using BlockMount.Core.Storage;

namespace BlockMount.Host.Images;

/// <summary>
/// Who else uses what a chain shows of this host's block devices. Parts that are written to were opened alone; the others are read whoever
/// uses them, and may change while they are read.
/// </summary>
internal static class DeviceUsers
{
    /// <summary>A clause for each, such as "/dev/sda1 is mounted on /boot".</summary>
    public static IEnumerable<string> Of(IStoreProvider provider, DiskChain chain) =>
        chain.Layers.SelectMany(static l => l.Devices).Where(static d => !d.IsWritten).SelectMany(d => Of(provider, d)).Distinct(StringComparer.Ordinal);

    /// <summary>The same for one part.</summary>
    public static IEnumerable<string> Of(IStoreProvider provider, DeviceRange range)
    {
        if (provider.DescribeDevice(range.Path) is not { } facts)
        {
            return [];
        }

        // Of a disk only the partitions that are shown count, unless it is shown whole.
        return range.Length >= facts.Length || facts.Partitions.Count == 0
            ? facts.Users
            : facts.Partitions.Where(p => p.Start < range.Offset + range.Length && range.Offset < p.End)
                .SelectMany(p => provider.DescribeDevice(p.Path)?.Users ?? []);
    }
}
