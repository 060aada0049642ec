namespace BlockMount.Core.Partitions;

/// <summary>How a disk is divided.</summary>
public enum PartitionScheme
{
    /// <summary>No table that this program reads; the disk may hold one file system, or a foreign table.</summary>
    None,

    /// <summary>The PC's master boot record with its chain of extended boot records.</summary>
    Mbr,

    /// <summary>The GUID partition table of UEFI, chapter 5.</summary>
    Gpt,
}
