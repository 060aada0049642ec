using BlockMount.Core.Errors;
using BlockMount.Platform.Devices;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Kernel;

/// <summary>The partitions of a disk as the kernel has them, each with a node of its own.</summary>
public static class KernelPartitions
{
    /// <summary>Opens the disk and closes it: the kernel reads the table of a disk that was attached when it is first opened, and forgets that of one that is gone.</summary>
    public static void Scan(string disk)
    {
        var descriptor = Shim.Open(disk, OpenFlags.Read);
        if (descriptor >= 0)
        {
            _ = Shim.Close(descriptor);
        }
    }

    /// <summary>Those that the kernel has now.</summary>
    public static IReadOnlyList<Core.Storage.DevicePartition> Of(string disk) => new DeviceCatalog(HostTree.Present).Describe(disk)?.Partitions ?? [];

    /// <summary>Tells the kernel of a partition that it has not found by itself.</summary>
    /// <param name="disk">Its node.</param>
    /// <param name="number">1 and up.</param>
    /// <param name="start">Bytes, a multiple of the disk's logical sector.</param>
    /// <param name="length">Bytes, a multiple of the disk's logical sector.</param>
    /// <exception cref="DiskException">The kernel refuses it.</exception>
    public static void Add(string disk, int number, long start, long length) =>
        Do(disk, descriptor => Shim.AddPartition(descriptor, number, start, length), $"show its partition {number}");

    /// <summary>Makes the kernel forget a partition.</summary>
    /// <exception cref="DiskException">It is in use.</exception>
    public static void Remove(string disk, int number) => Do(disk, descriptor => Shim.RemovePartition(descriptor, number), $"let go of its partition {number}");

    private static void Do(string disk, Func<int, int> operation, string what)
    {
        var descriptor = Shim.Open(disk, OpenFlags.Read);
        if (descriptor < 0)
        {
            throw HostErrors.OnPath(descriptor, disk, "opened");
        }

        var result = operation(descriptor);
        _ = Shim.Close(descriptor);
        if (result < 0)
        {
            throw new DiskException(HostErrors.KindOf(result) == HostErrorKind.Busy ? ErrorKind.Busy : ErrorKind.Io, $"{disk}: the kernel does not {what}: {HostErrors.TextOf(result)}.") { Path = disk };
        }
    }
}
