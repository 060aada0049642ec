using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;

namespace BlockMount.Core.Tests.Formats;

/// <summary>Lays out a sparse extent byte by byte, so that each field can be given any value. Counts are sectors.</summary>
internal sealed class VmdkBuilder
{
    public uint Magic { get; set; } = 0x564D444B;

    public uint Version { get; set; } = 1;

    public uint Flags { get; set; } = 3;

    public ulong Capacity { get; set; } = 100 * 16;

    public ulong GrainSize { get; set; } = 16;

    public ulong? DescriptorOffset { get; set; }

    public ulong? DescriptorSize { get; set; }

    public uint GtesPerGt { get; set; } = 512;

    public ulong? RgdOffset { get; set; }

    public ulong? GdOffset { get; set; }

    public byte Unclean { get; set; }

    public string NewLines { get; set; } = "\n \r\n";

    public ushort Compression { get; set; }

    /// <summary>Lines behind the CID, before the extents.</summary>
    public string Extra { get; set; } = "";

    public string? Descriptor { get; set; }

    public string CreateType { get; set; } = "monolithicSparse";

    public string ExtentAccess { get; set; } = "RW";

    /// <summary>Whether the text lies in the file; without it, the file is an extent of a split disk.</summary>
    public bool Embedded { get; set; } = true;

    /// <summary>Grains with content, in the order in which they lie in the file.</summary>
    public List<(int Grain, byte[] Content)> Grains { get; } = [];

    /// <summary>Entries set to something else than where the grain lies.</summary>
    public Dictionary<int, uint> Entries { get; } = [];

    /// <summary>The same for the redundant table alone.</summary>
    public Dictionary<int, uint> RedundantEntries { get; } = [];

    /// <summary>Sector and size that a compressed grain's marker gives, when not the true ones.</summary>
    public (ulong? Sector, uint? Size) Marker { get; set; }

    public bool Footer { get; set; }

    /// <summary>Made after everything else is laid out, before the header is.</summary>
    public Action<VmdkBuilder>? HeaderChange { get; set; }

    public byte[] Build()
    {
        var compressed = (Flags & 0x10000) != 0;
        var text = Encoding.Latin1.GetBytes(Descriptor
            ?? $"# Disk DescriptorFile\nversion=1\nCID=0badcafe\nparentCID=ffffffff\ncreateType=\"{CreateType}\"\n{Extra}\n# Extent description\n{ExtentAccess} {Capacity} SPARSE \"test.vmdk\"\n\nddb.uuid.image=\"11111111-2222-3333-4444-555555555555\"\nddb.uuid.modification=\"66666666-2222-3333-4444-555555555555\"\n");
        var tableSectors = GtesPerGt * 4 / 512;
        var file = new MemoryStream();
        file.SetLength((32 + (2 * tableSectors)) * 512L);
        Put(file, 512, Embedded ? text : []);
        var entries = new uint[GtesPerGt];
        var at = (file.Length + 511) / 512;
        at = (at + (long)GrainSize - 1) / (long)GrainSize * (long)GrainSize;
        foreach (var (grain, content) in Grains)
        {
            entries[grain] = (uint)at;
            var bytes = compressed ? Deflated(grain, content) : content;
            Put(file, at * 512, bytes);
            at += compressed ? (bytes.Length + 511) / 512 : (long)GrainSize;
            file.SetLength(Math.Max(file.Length, at * 512));
        }

        foreach (var (grain, entry) in Entries)
        {
            entries[grain] = entry;
        }

        Put(file, 22 * 512, U32(24));
        Put(file, 23 * 512, U32(24 + tableSectors));
        Put(file, 24 * 512, entries.SelectMany(U32).ToArray());
        foreach (var (grain, entry) in RedundantEntries)
        {
            entries[grain] = entry;
        }

        Put(file, (24 + tableSectors) * 512, entries.SelectMany(U32).ToArray());
        HeaderChange?.Invoke(this);
        var header = Header();
        if (Footer)
        {
            var marker = new byte[512];
            U32(1).CopyTo(marker, 0);
            U32(3).CopyTo(marker, 12);
            var end = file.Length;
            Put(file, end, marker);
            Put(file, end + 512, header);
            Put(file, end + 1024, new byte[512]);
            header.AsSpan(56, 8).Fill(0xFF);
        }

        Put(file, 0, header);
        return file.ToArray();
    }

    private static byte[] U32(uint value) => BitConverter.GetBytes(value);

    private static void Put(MemoryStream file, long at, byte[] bytes)
    {
        file.Position = at;
        file.Write(bytes);
    }

    private byte[] Header()
    {
        var header = new byte[512];
        BinaryPrimitives.WriteUInt32LittleEndian(header, Magic);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(4), Version);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(8), Flags);
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(12), Capacity);
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(20), GrainSize);
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(28), DescriptorOffset ?? (Embedded ? 1u : 0));
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(36), DescriptorSize ?? (Embedded ? 20u : 0));
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(44), GtesPerGt);
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(48), RgdOffset ?? 23);
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(56), GdOffset ?? 22);
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(64), 32);
        header[72] = Unclean;
        Encoding.ASCII.GetBytes(NewLines).CopyTo(header, 73);
        BinaryPrimitives.WriteUInt16LittleEndian(header.AsSpan(77), Compression);
        return header;
    }

    private byte[] Deflated(int grain, byte[] content)
    {
        var packed = new MemoryStream();
        using (var zlib = new ZLibStream(packed, CompressionLevel.Fastest, leaveOpen: true))
        {
            zlib.Write(content);
        }

        if ((Flags & 0x20000) == 0)
        {
            return packed.ToArray();
        }

        return [.. BitConverter.GetBytes(Marker.Sector ?? ((ulong)grain * GrainSize)), .. U32(Marker.Size ?? (uint)packed.Length), .. packed.ToArray()];
    }
}
