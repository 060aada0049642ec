namespace BlockMount.Attach.Leftovers;

/// <summary>What one step of a mount makes.</summary>
public enum MountStepKind
{
    /// <summary>A folder.</summary>
    Folder,

    /// <summary>A mount of files, through FUSE.</summary>
    Files,

    /// <summary>A loop device over a file.</summary>
    Loop,

    /// <summary>A device of the kernel's nbd driver.</summary>
    Nbd,

    /// <summary>A mounted file system.</summary>
    FileSystem,
}

/// <summary>One step of a mount, as much of it as is needed to recognise and undo it without the process that made it.</summary>
/// <param name="Kind">What it makes.</param>
/// <param name="Path">The folder, the mount's directory, the file under a loop device, or what an nbd device says that it shows.</param>
/// <param name="Device">
/// Of a file system the block device, known beforehand. Otherwise what the step made, known afterwards: the device's node, or the number of the FUSE mount.
/// </param>
public sealed record MountStep(MountStepKind Kind, string Path, string? Device = null);
