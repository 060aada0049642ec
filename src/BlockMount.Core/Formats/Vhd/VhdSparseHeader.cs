using System.Buffers.Binary;
using System.Text;
using BlockMount.Core.Errors;
using static BlockMount.Core.Formats.Vhd.VhdConstants;

namespace BlockMount.Core.Formats.Vhd;

/// <summary>The dynamic header of a dynamic or differencing image, checked: whoever holds one may do arithmetic with its fields.</summary>
internal sealed record VhdSparseHeader
{
    /// <summary>Byte offset of the header itself.</summary>
    public required long Position { get; init; }

    /// <summary>Byte offset of the block table.</summary>
    public required long TableOffset { get; init; }

    /// <summary>Entries of the block table.</summary>
    public required uint TableEntries { get; init; }

    /// <summary>Bytes of disk content per block, a power of two.</summary>
    public required uint BlockSize { get; init; }

    public required Guid ParentUniqueId { get; init; }

    /// <summary>Seconds since 2000; 0 when not recorded.</summary>
    public required uint ParentTimeStamp { get; init; }

    /// <summary>File name of the parent as stored.</summary>
    public required string ParentName { get; init; }

    public required IReadOnlyList<VhdLocatorEntry> Locators { get; init; }

    /// <summary>Bytes of the sector bitmap before each block's content: one bit a sector, in whole sectors.</summary>
    public int BitmapSize => (int)(((BlockSize / SectorSize / 8) + SectorSize - 1) / SectorSize * SectorSize);

    /// <summary>Bytes that one block takes in the file.</summary>
    public long Stride => (long)BitmapSize + BlockSize;

    public long TableEnd => TableOffset + (4L * TableEntries);

    /// <param name="name">The file, for sentences.</param>
    /// <param name="bytes">The 1024 bytes at <paramref name="position"/>.</param>
    /// <param name="position">Where they lie in the file.</param>
    /// <param name="footer">The checked footer.</param>
    /// <param name="fileLength">Bytes of the whole file, which bounds every size in the header.</param>
    /// <exception cref="DiskException">Damaged, of an unknown version, or a field outside what is allowed.</exception>
    public static VhdSparseHeader Parse(string name, ReadOnlySpan<byte> bytes, long position, VhdFooter footer, long fileLength)
    {
        if (!bytes.StartsWith(DynamicCookie))
        {
            throw DiskErrors.Corrupt(name, $"VHD data offset is {position}, but there is no dynamic header (\"cxsparse\") at that place.");
        }

        if (!VhdChecksum.Holds(bytes, OffHeaderChecksum))
        {
            throw DiskErrors.Corrupt(
                name,
                $"VHD dynamic header checksum is 0x{VhdChecksum.Stored(bytes, OffHeaderChecksum):X8} and its bytes give 0x{VhdChecksum.Of(bytes, OffHeaderChecksum):X8}; the header is damaged and has no copy.");
        }

        var version = BinaryPrimitives.ReadUInt32BigEndian(bytes[OffHeaderVersion..]);
        if ((version & MajorVersionMask) != Version1)
        {
            throw DiskErrors.Unsupported(name, $"VHD dynamic header version is 0x{version:X8}; known is 0x{Version1:X8}.");
        }

        var tableOffset = BinaryPrimitives.ReadUInt64BigEndian(bytes[OffTableOffset..]);
        VhdRules.CheckTableOffset(name, tableOffset, fileLength);
        var header = new VhdSparseHeader
        {
            Position = position,
            TableOffset = (long)tableOffset,
            TableEntries = BinaryPrimitives.ReadUInt32BigEndian(bytes[OffMaxTableEntries..]),
            BlockSize = BinaryPrimitives.ReadUInt32BigEndian(bytes[OffBlockSize..]),
            ParentUniqueId = new Guid(bytes.Slice(OffParentUniqueId, 16)),
            ParentTimeStamp = BinaryPrimitives.ReadUInt32BigEndian(bytes[OffParentTimeStamp..]),
            ParentName = Encoding.BigEndianUnicode.GetString(bytes.Slice(OffParentName, ParentNameSize)).Split('\0')[0],
            Locators = VhdLocatorEntry.ReadAll(bytes[OffLocators..]),
        };
        VhdRules.CheckSparse(name, header, footer, fileLength);
        return header;
    }
}
