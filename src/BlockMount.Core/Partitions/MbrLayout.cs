namespace BlockMount.Core.Partitions;

/// <summary>Wire constants of the master boot record and extended boot records (UEFI section 5.2.1).</summary>
internal static class MbrLayout
{
    /// <summary>Bytes of the record, whatever the sector size.</summary>
    public const int Size = 512;

    public const int DiskSignature = 440;
    public const int PartitionRecord = 446;
    public const int PartitionRecordSize = 16;
    public const int PartitionRecords = 4;
    public const int Signature = 510;
    public const ushort SignatureValue = 0xAA55;

    public const int BootIndicator = 0;
    public const int StartingChs = 1;
    public const int OSType = 4;
    public const int EndingChs = 5;
    public const int StartingLba = 8;
    public const int SizeInLba = 12;

    public const byte Active = 0x80;
    public const byte ExtendedChs = 0x05;
    public const byte ExtendedLba = 0x0F;
    public const byte ExtendedLinux = 0x85;
    public const byte Ldm = 0x42;
    public const byte Solaris = 0x82;
    public const byte FreeBsd = 0xA5;
    public const byte OpenBsd = 0xA6;
    public const byte NetBsd = 0xA9;
    public const byte Solaris2 = 0xBF;
    public const byte GptProtective = 0xEE;

    /// <summary>Extended boot records followed without finding a partition.</summary>
    public const int MaximumIdleHops = 128;

    /// <summary>Linux knows no more partitions on one disk.</summary>
    public const int MaximumPartitions = 256;
}
