using System.Buffers.Binary;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>The descriptor of a VMDK and where it was found: a text file of its own, or inside the one sparse extent.</summary>
/// <param name="Descriptor">The text, validated.</param>
/// <param name="DescriptorOffset">Byte in the file where the text starts.</param>
/// <param name="Embedded">The header of the extent that holds the text; null for a text file.</param>
internal sealed record VmdkSource(VmdkDescriptor Descriptor, long DescriptorOffset, VmdkSparseHeader? Embedded)
{
    /// <exception cref="DiskException">Neither, or an extent that belongs to a descriptor in another file.</exception>
    public static async ValueTask<VmdkSource> ReadAsync(ByteStore store, CancellationToken cancellationToken)
    {
        var sector = await ReadStartAsync(store, SectorSize, cancellationToken);
        if (VmdkSeHeader.HasMagic(sector))
        {
            throw WithoutDescriptor(store);
        }

        if (VmdkSparseHeader.MagicOf(sector) is not (SparseMagic or CowMagic))
        {
            if (!VmdkDescriptor.IsDescriptor(sector))
            {
                throw DiskErrors.NotThisFormat(store.Name, "it is neither a VMDK sparse extent (KDMV) nor a VMDK descriptor.");
            }

            return store.Length <= MaxDescriptorSize
                ? new VmdkSource(VmdkDescriptor.Parse(store.Name, await ReadStartAsync(store, MaxDescriptorSize, cancellationToken)), 0, null)
                : throw DiskErrors.Corrupt(store.Name, $"the VMDK descriptor has {store.Length} bytes; allowed are {MaxDescriptorSize}.");
        }

        var header = await ReadHeaderAsync(store, cancellationToken);
        if (header.DescriptorOffset == 0)
        {
            throw WithoutDescriptor(store);
        }

        var offset = (long)header.DescriptorOffset * SectorSize;
        var room = (long)header.DescriptorSize * SectorSize;
        var text = new byte[(int)Math.Min(room, MaxDescriptorSize)];
        await store.ReadAsync(offset, text, cancellationToken);

        // Keys behind the limit, such as the parent's, must not get lost unnoticed.
        if (room > text.Length && !text.AsSpan().Contains((byte)0))
        {
            throw DiskErrors.Corrupt(store.Name, $"the VMDK descriptor at sector {header.DescriptorOffset} has more than {MaxDescriptorSize} bytes, its room is {room}; allowed are {MaxDescriptorSize}.");
        }

        return new VmdkSource(VmdkDescriptor.Parse(store.Name, text), offset, header);
    }

    /// <summary>Reads the header of a sparse extent, from its footer when the start says so.</summary>
    public static async ValueTask<VmdkSparseHeader> ReadHeaderAsync(ByteStore store, CancellationToken cancellationToken)
    {
        var sector = await ReadStartAsync(store, SectorSize, cancellationToken);
        if (!VmdkSparseHeader.HasFooter(sector))
        {
            return VmdkSparseHeader.Parse(store.Name, sector, store.Length);
        }

        var end = new byte[FooterSectors * SectorSize];
        var at = store.Length - end.Length;
        if (at >= SectorSize && at % SectorSize == 0)
        {
            await store.ReadAsync(at, end, cancellationToken);
        }

        if (BinaryPrimitives.ReadUInt32LittleEndian(end.AsSpan(MarkerOffType)) != MarkerFooter
            || VmdkSparseHeader.MagicOf(end.AsSpan(SectorSize)) != SparseMagic)
        {
            throw DiskErrors.Corrupt(store.Name, $"the VMDK footer is missing, which holds the place of the grain directory; the file of {store.Length} bytes is cut off.");
        }

        return VmdkSparseHeader.Parse(store.Name, end.AsSpan(SectorSize, SectorSize), store.Length);
    }

    private static DiskException WithoutDescriptor(ByteStore store) =>
        DiskErrors.Unsupported(store.Name, "it is one extent of a VMDK and has no descriptor; open the descriptor file that names it.");

    private static async ValueTask<byte[]> ReadStartAsync(ByteStore store, int most, CancellationToken cancellationToken)
    {
        var bytes = new byte[(int)Math.Min(most, store.Length)];
        await store.ReadAsync(0, bytes, cancellationToken);
        return bytes;
    }
}
