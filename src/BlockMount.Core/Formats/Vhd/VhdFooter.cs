using System.Buffers.Binary;
using System.Text;
using static BlockMount.Core.Formats.Vhd.VhdConstants;

namespace BlockMount.Core.Formats.Vhd;

/// <summary>A footer (or its copy at the start of the file) whose mark and checksum are right; its fields are not checked yet.</summary>
internal sealed record VhdFooter
{
    /// <summary>The footer as stored, 512 bytes, so that what this program does not know survives a rewrite.</summary>
    public required byte[] Bytes { get; init; }

    public uint Features => U32(OffFeatures);

    public uint Version => U32(OffVersion);

    /// <summary>Byte offset of the dynamic header.</summary>
    public ulong DataOffset => U64(OffDataOffset);

    public uint TimeStamp => U32(OffTimeStamp);

    /// <summary>Four letters of the program that made the image, such as <c>vbox</c> or <c>win</c>.</summary>
    public string CreatorApplication =>
        string.Concat(Encoding.Latin1.GetString(Bytes, OffCreatorApplication, 4).Select(static c => char.IsAsciiLetterOrDigit(c) ? c : ' ')).TrimEnd();

    /// <summary>Size of the disk in bytes.</summary>
    public ulong CurrentSize => U64(OffCurrentSize);

    public DiskGeometry Geometry =>
        new(BinaryPrimitives.ReadUInt16BigEndian(Bytes.AsSpan(OffCylinders)), Bytes[OffHeads], Bytes[OffSectorsPerTrack]);

    public uint DiskType => U32(OffDiskType);

    // Stored as the memory of a little-endian structure, as VirtualBox does.
    public Guid UniqueId => new(Bytes.AsSpan(OffUniqueId, 16));

    public bool IsSavedState => Bytes[OffSavedState] != 0;

    public static bool HasCookie(ReadOnlySpan<byte> bytes) => bytes.StartsWith(FooterCookie);

    /// <summary>The footer in <paramref name="bytes"/> (512, or 511 of an old one); null when mark or checksum are wrong.</summary>
    public static VhdFooter? TryRead(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length < OldFooterSize || !HasCookie(bytes) || !VhdChecksum.Holds(bytes, OffChecksum))
        {
            return null;
        }

        var whole = new byte[FooterSize];
        bytes.CopyTo(whole);
        return new VhdFooter { Bytes = whole };
    }

    /// <summary>Whether both describe the same disk: all but the time of the last change, the saved state and the creator.</summary>
    public bool Agrees(VhdFooter other) =>
        UniqueId == other.UniqueId && DiskType == other.DiskType && CurrentSize == other.CurrentSize && DataOffset == other.DataOffset
        && Version == other.Version && Features == other.Features;

    public VhdFooter WithTimeStamp(uint stamp) => With(stamp, null, null);

    /// <param name="stamp">Time stamp.</param>
    /// <param name="uuid">UUID; null leaves it.</param>
    /// <param name="geometry">Geometry whose parts fit their fields; null leaves it.</param>
    public VhdFooter With(uint stamp, Guid? uuid, DiskGeometry? geometry)
    {
        var bytes = (byte[])Bytes.Clone();
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(OffTimeStamp), stamp);
        uuid?.TryWriteBytes(bytes.AsSpan(OffUniqueId));
        if (geometry is { } g)
        {
            BinaryPrimitives.WriteUInt16BigEndian(bytes.AsSpan(OffCylinders), checked((ushort)g.Cylinders));
            bytes[OffHeads] = checked((byte)g.Heads);
            bytes[OffSectorsPerTrack] = checked((byte)g.Sectors);
        }

        VhdChecksum.Put(bytes, OffChecksum);
        return new VhdFooter { Bytes = bytes };
    }

    /// <param name="stamp">Time stamp.</param>
    /// <param name="dataOffset">Byte offset of the dynamic header.</param>
    /// <param name="diskType">Disk type.</param>
    public VhdFooter WithHeader(uint stamp, long dataOffset, uint diskType)
    {
        var bytes = (byte[])Bytes.Clone();
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(OffTimeStamp), stamp);
        BinaryPrimitives.WriteInt64BigEndian(bytes.AsSpan(OffDataOffset), dataOffset);
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(OffDiskType), diskType);
        VhdChecksum.Put(bytes, OffChecksum);
        return new VhdFooter { Bytes = bytes };
    }

    /// <param name="stamp">Time stamp.</param>
    /// <param name="size">Current size in bytes; the geometry becomes the one that belongs to it.</param>
    public VhdFooter WithSize(uint stamp, long size)
    {
        var bytes = With(stamp, null, VhdGeometry.For(size)).Bytes;
        BinaryPrimitives.WriteInt64BigEndian(bytes.AsSpan(OffCurrentSize), size);
        VhdChecksum.Put(bytes, OffChecksum);
        return new VhdFooter { Bytes = bytes };
    }

    private uint U32(int at) => BinaryPrimitives.ReadUInt32BigEndian(Bytes.AsSpan(at));

    private ulong U64(int at) => BinaryPrimitives.ReadUInt64BigEndian(Bytes.AsSpan(at));
}
