namespace BlockMount.Attach.Roads;

/// <summary>How a disk comes to the host's <c>mount</c>.</summary>
public enum MountRoad
{
    /// <summary>The first that comes up, in the order of their names here.</summary>
    Auto,

    /// <summary>A device of the kernel's nbd driver. Needs root.</summary>
    Nbd,

    /// <summary>Loop devices over files that FUSE shows. Needs root.</summary>
    Loop,

    /// <summary>The files themselves, without any file system being mounted.</summary>
    Files,
}
