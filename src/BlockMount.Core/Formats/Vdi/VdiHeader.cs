using System.Buffers.Binary;
using System.Text;
using BlockMount.Core.Errors;
using static BlockMount.Core.Formats.Vdi.VdiConstants;

namespace BlockMount.Core.Formats.Vdi;

/// <summary>
/// A validated header: whoever holds one may do arithmetic with its fields. <see cref="Parse"/> is the only way to get one
/// from bytes. Layout: VDI.md.
/// </summary>
internal sealed record VdiHeader
{
    public required uint Version { get; init; }

    public required uint HeaderSize { get; init; }

    public required uint Type { get; init; }

    public required uint Flags { get; init; }

    public required string Comment { get; init; }

    /// <summary>Byte offset of the block table.</summary>
    public required uint TableOffset { get; init; }

    /// <summary>Byte offset of block 0.</summary>
    public required uint DataOffset { get; init; }

    public required DiskGeometry LegacyGeometry { get; init; }

    public DiskGeometry? Lchs { get; init; }

    /// <summary>Bytes; need not be a multiple of a sector.</summary>
    public required long DiskSize { get; init; }

    /// <summary>Bytes of disk content per block, a power of two from 64 KiB to 128 MiB.</summary>
    public required uint BlockSize { get; init; }

    /// <summary>Bytes before each block's content: 0 or a power of two.</summary>
    public required uint BlockExtra { get; init; }

    public required uint BlockCount { get; init; }

    public required uint BlocksAllocated { get; init; }

    public required Guid UuidCreate { get; init; }

    public required Guid UuidModify { get; init; }

    public required Guid UuidLinkage { get; init; }

    public required Guid UuidParentModify { get; init; }

    public bool IsVersion0 => Version == Version0;

    /// <summary>As VirtualBox does, a link makes an image differencing whatever its type says.</summary>
    public bool IsDifferencing => Type == TypeDiff || UuidLinkage != Guid.Empty;

    public ParentLink? Parent => IsDifferencing ? new ParentLink(UuidLinkage, UuidParentModify) : null;

    public bool IsFixed => Type == TypeFixed;

    /// <summary>Bytes from one block's start to the next.</summary>
    public long Stride => (long)BlockExtra + BlockSize;

    public string VersionText => IsVersion0 ? "0" : HeaderSize >= HeaderSizeV1Plus ? "1.1+" : "1.1";

    public string Variant => IsDifferencing ? "differencing" : IsFixed ? "fixed" : "dynamic";

    public int BlocksAllocatedField => IsVersion0 ? OffBlocksAllocatedV0 : OffBlocksAllocated;

    public int UuidModifyField => IsVersion0 ? OffUuidModifyV0 : OffUuidModify;

    public static bool HasSignature(ReadOnlySpan<byte> sector) =>
        sector.Length >= PreHeaderSize && BinaryPrimitives.ReadUInt32LittleEndian(sector[OffSignature..]) == Signature;

    /// <summary>File position of the content of the block numbered <paramref name="entry"/>.</summary>
    public long DataPosition(uint entry) => DataOffset + (entry * Stride) + BlockExtra;

    /// <param name="name">The file, for sentences.</param>
    /// <param name="sector">The first 512 bytes.</param>
    /// <param name="fileLength">Bytes of the whole file, which bounds every size in the header.</param>
    /// <exception cref="DiskException">Not a VDI, an unknown version or type, or a field outside what is allowed.</exception>
    public static VdiHeader Parse(string name, ReadOnlySpan<byte> sector, long fileLength)
    {
        if (!HasSignature(sector))
        {
            throw DiskErrors.NotThisFormat(name, $"it is not a VDI, its bytes {OffSignature} to {OffSignature + 3} are not the signature 0x{Signature:X8}.");
        }

        if (sector.Length < HeaderSectorSize)
        {
            throw DiskErrors.Corrupt(name, $"the VDI header is cut off, the file has {fileLength} bytes and a header needs {HeaderSectorSize}.");
        }

        var version = U32(sector, OffVersion);
        var header = version switch
        {
            Version0 => ReadV0(sector),
            Version1 => ReadV1(name, sector),
            _ => throw DiskErrors.Unsupported(
                name, $"VDI version is 0x{version:X8}; known are 0x{Version0:X8} (0) and 0x{Version1:X8} (1.1 and 1.1+)."),
        };
        VdiHeaderRules.Check(name, header, fileLength);
        return header;
    }

    /// <exception cref="DiskException">A flag that is not known: the image is not to be written to.</exception>
    public static void RequireKnownFlags(string name, VdiHeader header)
    {
        if ((header.Flags & ~FlagZeroExpand) != 0)
        {
            throw DiskErrors.Unsupported(
                name, $"VDI header flags are 0x{header.Flags:X}, of which only 0x{FlagZeroExpand:X} is known, so it is not written to; add --read-only to read it.");
        }
    }

    private static VdiHeader ReadV0(ReadOnlySpan<byte> sector) => new()
    {
        Version = Version0,
        HeaderSize = HeaderSizeV0,
        Type = U32(sector, OffTypeV0),
        Flags = U32(sector, OffFlagsV0),
        Comment = Text(sector, OffCommentV0),
        TableOffset = TableOffsetV0,
        DataOffset = (uint)Math.Min(uint.MaxValue, TableOffsetV0 + (4L * U32(sector, OffBlockCountV0))),
        LegacyGeometry = Geometry(sector, OffLegacyGeometryV0),
        DiskSize = BinaryPrimitives.ReadInt64LittleEndian(sector[OffDiskSizeV0..]),
        BlockSize = U32(sector, OffBlockSizeV0),
        BlockExtra = 0,
        BlockCount = U32(sector, OffBlockCountV0),
        BlocksAllocated = U32(sector, OffBlocksAllocatedV0),
        UuidCreate = Uuid(sector, OffUuidCreateV0),
        UuidModify = Uuid(sector, OffUuidModifyV0),
        UuidLinkage = Uuid(sector, OffUuidLinkageV0),
        UuidParentModify = Guid.Empty,
    };

    private static VdiHeader ReadV1(string name, ReadOnlySpan<byte> sector)
    {
        var headerSize = U32(sector, OffHeaderSize);
        if (headerSize < HeaderSizeV1)
        {
            throw DiskErrors.Corrupt(name, $"VDI header size is {headerSize}; at least {HeaderSizeV1} is allowed.");
        }

        return new()
        {
            Version = Version1,
            HeaderSize = headerSize,
            Type = U32(sector, OffType),
            Flags = U32(sector, OffFlags),
            Comment = Text(sector, OffComment),
            TableOffset = U32(sector, OffBlocks),
            DataOffset = U32(sector, OffData),
            LegacyGeometry = Geometry(sector, OffLegacyGeometry),
            Lchs = headerSize >= HeaderSizeV1Plus ? Geometry(sector, OffLchsGeometry) : null,
            DiskSize = BinaryPrimitives.ReadInt64LittleEndian(sector[OffDiskSize..]),
            BlockSize = U32(sector, OffBlockSize),
            BlockExtra = U32(sector, OffBlockExtra),
            BlockCount = U32(sector, OffBlockCount),
            BlocksAllocated = U32(sector, OffBlocksAllocated),
            UuidCreate = Uuid(sector, OffUuidCreate),
            UuidModify = Uuid(sector, OffUuidModify),
            UuidLinkage = Uuid(sector, OffUuidLinkage),
            UuidParentModify = Uuid(sector, OffUuidParentModify),
        };
    }

    private static uint U32(ReadOnlySpan<byte> sector, int at) => BinaryPrimitives.ReadUInt32LittleEndian(sector[at..]);

    // A UUID is stored as the memory of a little-endian structure, which is what this constructor reads.
    private static Guid Uuid(ReadOnlySpan<byte> sector, int at) => new(sector.Slice(at, 16));

    private static DiskGeometry Geometry(ReadOnlySpan<byte> sector, int at) => new(U32(sector, at), U32(sector, at + 4), U32(sector, at + 8));

    private static string Text(ReadOnlySpan<byte> sector, int at)
    {
        var bytes = sector.Slice(at, CommentSize);
        var end = bytes.IndexOf((byte)0);
        return Encoding.UTF8.GetString(end < 0 ? bytes : bytes[..end]);
    }
}
