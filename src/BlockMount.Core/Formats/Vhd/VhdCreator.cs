using System.Buffers.Binary;
using System.Numerics;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vhd.VhdConstants;

namespace BlockMount.Core.Formats.Vhd;

/// <summary>Writes new images, laid out as VirtualBox lays them out: footer copy, dynamic header, table, locators, footer.</summary>
internal static class VhdCreator
{
    private const int TableOffset = FooterSize + DynamicHeaderSize;
    private const int WritePiece = 1 << 20;

    public static async ValueTask CreateAsync(ByteStore store, ImageCreateOptions options, CancellationToken cancellationToken)
    {
        Check(store.Name, options);
        var type = options.Parent is not null ? TypeDifferencing : options.Variant is "fixed" ? TypeFixed : TypeDynamic;
        var footer = Footer(options, type);
        var footerPosition = options.Capacity;
        if (type == TypeFixed)
        {
            await store.AllocateAsync(0, options.Capacity, cancellationToken);
        }
        else
        {
            footerPosition = await WriteStructuresAsync(store, options, cancellationToken);
        }

        await store.FlushAsync(cancellationToken);

        // The footers make the file an image, so they go last: a cut before this leaves something that is no VHD at all.
        await store.WriteAsync(footerPosition, footer, cancellationToken);
        if (type != TypeFixed)
        {
            await store.WriteAsync(0, footer, cancellationToken);
        }

        await store.FlushAsync(cancellationToken);
    }

    private static void Check(string name, ImageCreateOptions options)
    {
        var blockSize = options.BlockSize ?? DefaultBlockSize;
        Require(name, options.Parent is not null || options.Variant is null or "dynamic" or "fixed",
            $"a VHD has no variant '{options.Variant}'; allowed are dynamic and fixed.");
        Require(name, blockSize is >= MinBlockSize and <= MaxBlockSize && BitOperations.IsPow2(blockSize),
            $"a VHD block size of {blockSize} is not allowed, only a power of two from {MinBlockSize} to {MaxBlockSize}.");
        Require(name, options.Parent is not null || options.Variant is not "fixed" || options.BlockSize is null, "a fixed VHD has no blocks; leave out the block size.");
        Require(name, options.Capacity is > 0 and <= MaxCreateSize && (options.Capacity % SectorSize == 0 || options.Parent is not null),
            $"a disk size of {options.Capacity} bytes is not allowed for a VHD, only a multiple of {SectorSize} from {SectorSize} to {MaxCreateSize}.");
        Require(name, options.Comment.Length == 0, "a VHD has no place for a comment; leave it out, or use a .vdi file.");
        Require(name, (options.Capacity + blockSize - 1) / blockSize <= MaxBlocks,
            $"a disk of {options.Capacity} bytes needs more than {MaxBlocks} blocks of {blockSize} bytes; choose a larger block size.");
    }

    private static byte[] Footer(ImageCreateOptions options, uint type)
    {
        var bytes = new byte[FooterSize];
        var geometry = VhdGeometry.For(options.Capacity);
        FooterCookie.CopyTo(bytes);
        Put(bytes, OffFeatures, FeatureReserved);
        Put(bytes, OffVersion, Version1);
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(OffDataOffset), type == TypeFixed ? NoOffset : FooterSize);
        Put(bytes, OffTimeStamp, VhdTime.Now());

        // qemu takes the disk size from the rounded geometry unless a program that it knows made the image.
        "win "u8.CopyTo(bytes.AsSpan(OffCreatorApplication));
        Put(bytes, OffCreatorVersion, 0x000A0000);
        "Wi2k"u8.CopyTo(bytes.AsSpan(OffCreatorHost));
        BinaryPrimitives.WriteInt64BigEndian(bytes.AsSpan(OffOriginalSize), options.Capacity);
        BinaryPrimitives.WriteInt64BigEndian(bytes.AsSpan(OffCurrentSize), options.Capacity);
        BinaryPrimitives.WriteUInt16BigEndian(bytes.AsSpan(OffCylinders), (ushort)geometry.Cylinders);
        bytes[OffHeads] = (byte)geometry.Heads;
        bytes[OffSectorsPerTrack] = (byte)geometry.Sectors;
        Put(bytes, OffDiskType, type);
        (options.Uuid ?? Guid.NewGuid()).TryWriteBytes(bytes.AsSpan(OffUniqueId));
        VhdChecksum.Put(bytes, OffChecksum);
        return bytes;
    }

    /// <summary>Writes dynamic header, table and locators; returns where the footer goes.</summary>
    private static async ValueTask<long> WriteStructuresAsync(ByteStore store, ImageCreateOptions options, CancellationToken cancellationToken)
    {
        var blockSize = (uint)(options.BlockSize ?? DefaultBlockSize);
        var count = (uint)((options.Capacity + blockSize - 1) / blockSize);
        var header = new byte[DynamicHeaderSize];
        DynamicCookie.CopyTo(header);
        BinaryPrimitives.WriteUInt64BigEndian(header.AsSpan(OffDynamicDataOffset), NoOffset);
        BinaryPrimitives.WriteUInt64BigEndian(header.AsSpan(OffTableOffset), TableOffset);
        Put(header, OffHeaderVersion, Version1);
        Put(header, OffMaxTableEntries, count);
        Put(header, OffBlockSize, blockSize);

        var end = await WriteTableAsync(store, count, cancellationToken);
        if (options.Parent is { } parent)
        {
            parent.Uuid.TryWriteBytes(header.AsSpan(OffParentUniqueId));
            Put(header, OffParentTimeStamp, (uint)Math.Clamp(parent.ChangedAt, 0, uint.MaxValue));
            end = await WriteParentAsync(store, header, options.ParentPath, end, cancellationToken);
        }

        VhdChecksum.Put(header, OffHeaderChecksum);
        await store.WriteAsync(FooterSize, header, cancellationToken);
        return end;
    }

    private static async ValueTask<long> WriteParentAsync(
        ByteStore store, byte[] header, string? parentPath, long end, CancellationToken cancellationToken)
    {
        if (parentPath is null)
        {
            return end;
        }

        VhdLocators.PutName(header, parentPath);
        var (bytes, entries) = VhdLocators.Lay(VhdLocators.For(store.Name, parentPath), end);
        for (var i = 0; i < entries.Count; i++)
        {
            entries[i].Put(header, i);
        }

        await store.WriteAsync(end, bytes, cancellationToken);
        return end + bytes.Length;
    }

    /// <summary>Writes a table of free entries, padded to whole sectors; returns its end.</summary>
    private static async ValueTask<long> WriteTableAsync(ByteStore store, uint count, CancellationToken cancellationToken)
    {
        var length = ((4L * count) + SectorSize - 1) / SectorSize * SectorSize;
        var piece = new byte[(int)Math.Min(WritePiece, length)];
        piece.AsSpan().Fill(0xFF);
        for (long done = 0; done < length; done += piece.Length)
        {
            await store.WriteAsync(TableOffset + done, piece.AsMemory(0, (int)Math.Min(piece.Length, length - done)), cancellationToken);
        }

        return TableOffset + length;
    }

    private static void Put(byte[] bytes, int at, uint value) => BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(at), value);

    private static void Require(string name, bool holds, string sentence)
    {
        if (!holds)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"{name}: {sentence}");
        }
    }
}
