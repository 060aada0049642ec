using System.Buffers.Binary;

namespace BlockMount.Core.Partitions;

/// <summary>ext2, ext3 and ext4, told apart by their features as libblkid does (kernel documentation, ext4 super block).</summary>
internal static class ExtProbe
{
    private const int SuperBlock = 1024;
    private const int BlocksCount = 0x04;
    private const int LogBlockSize = 0x18;
    private const int Magic = 0x38;
    private const int FeatureCompat = 0x5C;
    private const int FeatureIncompat = 0x60;
    private const int FeatureRoCompat = 0x64;
    private const int Uuid = 0x68;
    private const int VolumeName = 0x78;

    private const ushort MagicValue = 0xEF53;
    private const uint LargestLogBlockSize = 6;
    private const uint HasJournal = 0x4;
    private const uint IncompatJournalDevice = 0x8;
    private const uint IncompatExt2 = 0x2 | 0x10;
    private const uint IncompatExt3 = IncompatExt2 | 0x4;
    private const uint RoCompatExt2And3 = 0x1 | 0x2 | 0x4;

    public static DetectedFileSystem? Detect(ReadOnlySpan<byte> head)
    {
        var super = head.Slice(SuperBlock, 1024);
        if (BinaryPrimitives.ReadUInt16LittleEndian(super[Magic..]) != MagicValue
            || Read(super, LogBlockSize) > LargestLogBlockSize
            || Read(super, BlocksCount) == 0)
        {
            return null;
        }

        var incompat = Read(super, FeatureIncompat);
        return new DetectedFileSystem(
            NameOf(Read(super, FeatureCompat), incompat, Read(super, FeatureRoCompat)),
            ProbeText.Label(super.Slice(VolumeName, 16)),
            ProbeText.Uuid(super[Uuid..]));

        static uint Read(ReadOnlySpan<byte> super, int at) => BinaryPrimitives.ReadUInt32LittleEndian(super[at..]);
    }

    private static string NameOf(uint compat, uint incompat, uint roCompat)
    {
        if ((incompat & IncompatJournalDevice) != 0)
        {
            return "jbd";
        }

        var journalled = (compat & HasJournal) != 0;
        var plain = (roCompat & ~RoCompatExt2And3) == 0 && (incompat & ~(journalled ? IncompatExt3 : IncompatExt2)) == 0;
        return !plain ? "ext4" : journalled ? "ext3" : "ext2";
    }
}
