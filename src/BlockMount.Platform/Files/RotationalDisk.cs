using BlockMount.Platform.Devices;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Files;

/// <summary>Asks sysfs whether a file or block device lies on a disk that turns ("Documentation/ABI/stable/sysfs-block", queue/rotational).</summary>
internal static class RotationalDisk
{
    private const string BlockDevices = "/sys/dev/block";

    /// <summary>No when the host does not tell, as for file systems that span disks or lie on none.</summary>
    public static bool Holds(in FileFacts facts) =>
        Holds(facts.Type == FileType.BlockDevice ? facts.Represents : facts.Device, BlockDevices);

    /// <param name="device">The number of the device, as in <c>st_dev</c> of Linux.</param>
    /// <param name="folder">Links named after the numbers of all block devices.</param>
    public static bool Holds(ulong device, string folder)
    {
        var link = Path.Combine(folder, BlockNumber.From(device).ToString());
        try
        {
            var disk = new DirectoryInfo(link);
            if (!disk.Exists || disk.ResolveLinkTarget(returnFinalTarget: true) is not { FullName: var path })
            {
                return false;
            }

            // A partition has no queue of its own; its folder lies in that of the disk.
            return Reads1(Path.Combine(path, "queue", "rotational")) || Reads1(Path.Combine(path, "..", "queue", "rotational"));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private static bool Reads1(string path) =>
        File.Exists(path) && File.ReadAllText(path).AsSpan().Trim().SequenceEqual("1");
}
