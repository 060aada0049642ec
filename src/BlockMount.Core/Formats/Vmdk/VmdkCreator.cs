using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>Writes new images as VMware and VirtualBox lay them out: both directories and all tables made at once, content behind them.</summary>
internal static class VmdkCreator
{
    public static async ValueTask CreateAsync(ByteStore store, ImageContext context, ImageCreateOptions options, CancellationToken cancellationToken)
    {
        var layout = VmdkLayout.Plan(store.Name, options);
        if (layout.IsStream)
        {
            await (await BeginStreamAsync(store, context, options, cancellationToken)).CompleteAsync(cancellationToken);
            return;
        }

        var text = Descriptor(layout, options);
        if (layout.IsEmbedded)
        {
            await WriteSparseAsync(store, layout, layout.Extents[0].Sectors, text, cancellationToken);
            return;
        }

        var made = new List<string>();
        try
        {
            foreach (var (path, sectors) in layout.Extents)
            {
                await using var extent = await context.Provider.CreateAsync(path, cancellationToken);
                made.Add(path);
                if (layout.IsSparse)
                {
                    await WriteSparseAsync(extent, layout, sectors, [], cancellationToken);
                }
                else
                {
                    await extent.AllocateAsync(0, sectors * SectorSize, cancellationToken);
                    await extent.FlushAsync(cancellationToken);
                }
            }

            // The descriptor makes the files an image, so it goes last.
            await store.WriteAsync(0, text, cancellationToken);
            await store.FlushAsync(cancellationToken);
        }
        catch
        {
            made.ForEach(context.Provider.Delete);
            throw;
        }
    }

    /// <summary>Starts a stream, which is an image when it is completed.</summary>
    public static async ValueTask<SequentialImage> BeginStreamAsync(
        ByteStore store, ImageContext context, ImageCreateOptions options, CancellationToken cancellationToken)
    {
        var layout = VmdkLayout.Plan(store.Name, options);
        return await VmdkStreamWriter.BeginAsync(store, layout, context.Provider.Zlib, Descriptor(layout, options), cancellationToken);
    }

    /// <summary>Sectors set aside for a descriptor inside the extent; 0 when it is elsewhere.</summary>
    public static long DescriptorSectors(byte[] descriptor) =>
        descriptor.Length == 0 ? 0 : Math.Max(DefaultDescriptorSectors, (descriptor.Length / SectorSize) + 1);

    /// <summary>What the headers of all new sparse extents have in common.</summary>
    public static byte[] Header(VmdkLayout layout, long sectors, long descriptorSectors)
    {
        var header = new byte[SectorSize];
        BinaryPrimitives.WriteUInt32LittleEndian(header, SparseMagic);
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(OffCapacity), sectors);
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(OffGrainSize), layout.GrainSectors);
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(OffDescriptorOffset), descriptorSectors == 0 ? 0 : 1);
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(OffDescriptorSize), descriptorSectors);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(OffNumGtesPerGt), DefaultGtesPerGt);
        "\n \r\n"u8.CopyTo(header.AsSpan(OffNewLines));
        return header;
    }

    /// <summary>A CID for a new image, never 0 nor that of no parent.</summary>
    public static uint NewContentId() => Math.Max(1, BinaryPrimitives.ReadUInt32LittleEndian(RandomNumberGenerator.GetBytes(4)) & 0x7FFFFFFF);

    private static byte[] Descriptor(VmdkLayout layout, ImageCreateOptions options) =>
        Encoding.UTF8.GetBytes(layout.Text(options, NewContentId(), options.Uuid ?? Guid.NewGuid()));

    /// <summary>Lays a sparse extent of free grains out in an empty file, durably; with a descriptor inside when that is not empty.</summary>
    public static async ValueTask WriteSparseAsync(ByteStore store, VmdkLayout layout, long sectors, byte[] descriptor, CancellationToken cancellationToken)
    {
        var tables = (sectors + ((long)layout.GrainSectors * DefaultGtesPerGt) - 1) / ((long)layout.GrainSectors * DefaultGtesPerGt);
        var directorySectors = ((4 * tables) + SectorSize - 1) / SectorSize;
        const int tableSectors = (int)DefaultGtesPerGt * 4 / SectorSize;
        var descriptorSectors = DescriptorSectors(descriptor);
        var redundant = 1 + descriptorSectors;
        var directory = redundant + directorySectors + (tables * tableSectors);
        var end = directory + directorySectors + (tables * tableSectors);
        var overHead = (end + layout.GrainSectors - 1) / layout.GrainSectors * layout.GrainSectors;

        // The tables are free entries, zeros, which the new file reads as anyway.
        await store.SetLengthAsync(overHead * SectorSize, cancellationToken);
        await WriteDirectoryAsync(store, redundant, directorySectors, tables, tableSectors, cancellationToken);
        await WriteDirectoryAsync(store, directory, directorySectors, tables, tableSectors, cancellationToken);
        if (descriptor.Length > 0)
        {
            await store.WriteAsync(SectorSize, descriptor, cancellationToken);
        }

        await store.FlushAsync(cancellationToken);

        // The header makes the file an extent, so it goes last: a cut before this leaves something that is no VMDK at all.
        var header = Header(layout, sectors, descriptorSectors);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(OffVersion), MinVersion);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(OffFlags), FlagNewLineTest | FlagRedundantTable);
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(OffRgdOffset), redundant);
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(OffGdOffset), directory);
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(OffOverHead), overHead);
        await store.WriteAsync(0, header, cancellationToken);
        await store.FlushAsync(cancellationToken);
    }

    private static ValueTask WriteDirectoryAsync(
        ByteStore store, long sector, long directorySectors, long tables, int tableSectors, CancellationToken cancellationToken)
    {
        var bytes = new byte[4 * tables];
        for (var i = 0; i < tables; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(4 * i), checked((uint)(sector + directorySectors + ((long)i * tableSectors))));
        }

        return store.WriteAsync(sector * SectorSize, bytes, cancellationToken);
    }
}
