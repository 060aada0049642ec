namespace BlockMount.Core.Partitions;

/// <summary>Wire constants of the GUID partition table (UEFI section 5.3).</summary>
internal static class GptLayout
{
    public const int Signature = 0;
    public const int Revision = 8;
    public const int HeaderSize = 12;
    public const int HeaderCrc32 = 16;
    public const int MyLba = 24;
    public const int AlternateLba = 32;
    public const int FirstUsableLba = 40;
    public const int LastUsableLba = 48;
    public const int DiskGuid = 56;
    public const int PartitionEntryLba = 72;
    public const int NumberOfPartitionEntries = 80;
    public const int SizeOfPartitionEntry = 84;
    public const int PartitionEntryArrayCrc32 = 88;

    public const int MinimumHeaderSize = 92;
    public const ushort RevisionMajor = 1;
    public const uint MinimumEntrySize = 128;
    public const uint MaximumEntrySize = 4096;
    public const uint MaximumEntries = 4096;
    public const int MaximumArraySize = 1 << 20;

    public const int PartitionTypeGuid = 0;
    public const int UniquePartitionGuid = 16;
    public const int StartingLba = 32;
    public const int EndingLba = 40;
    public const int Attributes = 48;
    public const int PartitionName = 56;
    public const int PartitionNameSize = 72;

    public const ulong LegacyBiosBootable = 1UL << 2;

    /// <summary>Sectors at the end of the disk searched for a backup header that is not in the last one.</summary>
    public const int SearchedSectors = 64;

    public static ReadOnlySpan<byte> SignatureValue => "EFI PART"u8;
}
