using BlockMount.Attach.Images;
using BlockMount.Core.Errors;

namespace BlockMount.Attach.Roads;

/// <summary>Gives a disk and its partitions as block devices of this host. What it does is pushed on the undo stack of the mount, step by step.</summary>
internal interface IDeviceRoad
{
    MountRoad Kind { get; }

    /// <summary>As the subject of a sentence: what is used.</summary>
    string Name { get; }

    /// <summary>Ends, or fails, when the disk is not served any more; known once it is up.</summary>
    Task Completion { get; }

    /// <summary>Brings the disk up.</summary>
    /// <exception cref="DiskException">It did not come up; what it did is on the stack.</exception>
    Task StartAsync(CancellationToken cancellationToken);

    /// <summary>The block device of a partition or of the whole disk.</summary>
    /// <param name="target">Which.</param>
    /// <param name="isReadOnly">Nothing may write to it; the device refuses writes.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="DiskException">There is none; what was done is on the stack.</exception>
    Task<string> DeviceAsync(FileSystemTarget target, bool isReadOnly, CancellationToken cancellationToken);
}
