using System.Buffers.Binary;
using System.Numerics;
using System.Text;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vdi.VdiConstants;

namespace BlockMount.Core.Formats.Vdi;

/// <summary>Writes new images as current VirtualBox does: 1.1+ header, table at 1 MiB, data at the next multiple of 1 MiB.</summary>
internal static class VdiCreator
{
    private const int WritePiece = 1 << 20;

    public static async ValueTask CreateAsync(ByteStore store, ImageCreateOptions options, CancellationToken cancellationToken)
    {
        var isDiff = options.Parent is not null;
        var isFixed = !isDiff && options.Variant is "fixed";
        var header = Header(store.Name, options, isDiff, isFixed);
        var dataOffset = BinaryPrimitives.ReadUInt32LittleEndian(header.AsSpan(OffData));
        var count = BinaryPrimitives.ReadUInt32LittleEndian(header.AsSpan(OffBlockCount));
        var blockSize = BinaryPrimitives.ReadUInt32LittleEndian(header.AsSpan(OffBlockSize));

        await store.SetLengthAsync(dataOffset, cancellationToken);
        if (isFixed)
        {
            await store.AllocateAsync(dataOffset, (long)count * blockSize, cancellationToken);
        }

        await WriteTableAsync(store, count, isFixed, cancellationToken);
        await store.FlushAsync(cancellationToken);

        // The header makes the file an image, so it goes last: a cut before this leaves something that is no VDI at all.
        await store.WriteAsync(0, header, cancellationToken);
        await store.FlushAsync(cancellationToken);
    }

    private static byte[] Header(string name, ImageCreateOptions options, bool isDiff, bool isFixed)
    {
        var blockSize = options.BlockSize ?? DefaultBlockSize;
        Require(name, blockSize is >= MinBlockSize and <= MaxBlockSize && BitOperations.IsPow2(blockSize),
            $"a VDI block size of {blockSize} is not allowed, only a power of two from {MinBlockSize} to {MaxBlockSize}.");
        Require(name, isDiff || options.Variant is null or "dynamic" or "fixed",
            $"a VDI has no variant '{options.Variant}'; allowed are dynamic and fixed.");
        Require(name, options.Capacity > 0 && (options.Capacity % 512 == 0 || isDiff),
            $"a disk size of {options.Capacity} bytes is not allowed for a VDI, only a positive multiple of 512.");
        var count = (options.Capacity + blockSize - 1) / blockSize;
        Require(name, count <= MaxBlocks,
            $"a disk of {options.Capacity} bytes needs {count} blocks of {blockSize} bytes, more than {MaxBlocks}; choose a larger block size.");
        var comment = Encoding.UTF8.GetBytes(options.Comment);
        Require(name, comment.Length < CommentSize, $"the comment has {comment.Length} bytes in UTF-8; a VDI holds {CommentSize - 1}.");

        var bytes = new byte[HeaderSectorSize];
        "<<< Oracle VirtualBox Disk Image >>>\n"u8.CopyTo(bytes);
        var dataOffset = CreateAlignment + (((4 * count) + CreateAlignment - 1) / CreateAlignment * CreateAlignment);
        Put(OffSignature, Signature);
        Put(OffVersion, Version1);
        Put(OffHeaderSize, HeaderSizeV1Plus);
        Put(OffType, isDiff ? TypeDiff : isFixed ? TypeFixed : TypeNormal);
        comment.CopyTo(bytes.AsSpan(OffComment));
        Put(OffBlocks, CreateAlignment);
        Put(OffData, checked((uint)dataOffset));
        Put(OffLegacyGeometry + 12, 512);
        BinaryPrimitives.WriteInt64LittleEndian(bytes.AsSpan(OffDiskSize), options.Capacity);
        Put(OffBlockSize, (uint)blockSize);
        Put(OffBlockCount, (uint)count);
        Put(OffBlocksAllocated, isFixed ? (uint)count : 0);
        (options.Uuid ?? Guid.NewGuid()).TryWriteBytes(bytes.AsSpan(OffUuidCreate));
        Guid.NewGuid().TryWriteBytes(bytes.AsSpan(OffUuidModify));
        if (options.Parent is { } parent)
        {
            parent.Uuid.TryWriteBytes(bytes.AsSpan(OffUuidLinkage));
            parent.ModificationUuid.TryWriteBytes(bytes.AsSpan(OffUuidParentModify));
        }

        Put(OffLchsGeometry + 12, 512);
        return bytes;

        void Put(int at, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(at), value);
    }

    private static async ValueTask WriteTableAsync(ByteStore store, uint count, bool isFixed, CancellationToken cancellationToken)
    {
        var piece = new byte[(int)Math.Min(WritePiece, 4L * count)];
        piece.AsSpan().Fill(0xFF);
        for (long done = 0; done < count;)
        {
            var entries = (int)Math.Min(piece.Length / 4, count - done);
            for (var i = 0; isFixed && i < entries; i++)
            {
                BinaryPrimitives.WriteUInt32LittleEndian(piece.AsSpan(4 * i), (uint)(done + i));
            }

            await store.WriteAsync(CreateAlignment + (4 * done), piece.AsMemory(0, 4 * entries), cancellationToken);
            done += entries;
        }
    }

    private static void Require(string name, bool holds, string sentence)
    {
        if (!holds)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"{name}: {sentence}");
        }
    }
}
