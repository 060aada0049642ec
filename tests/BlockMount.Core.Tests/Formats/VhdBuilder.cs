using System.Buffers.Binary;
using System.Text;

namespace BlockMount.Core.Tests.Formats;

/// <summary>Lays out VHD files field by field, independently of the program, so that any variant and any nonsense can be made.</summary>
internal sealed class VhdBuilder
{
    public uint Features { get; set; } = 2;

    public uint Version { get; set; } = 0x00010000;

    public ulong? DataOffset { get; set; }

    public uint TimeStamp { get; set; } = 100;

    public string Creator { get; set; } = "test";

    public ulong DiskSize { get; set; } = 4 << 20;

    /// <summary>Cylinders, heads, sectors.</summary>
    public uint Geometry { get; set; }

    public uint Type { get; set; } = 3;

    public Guid Uuid { get; set; } = Guid.NewGuid();

    public byte SavedState { get; set; }

    public ulong TableOffset { get; set; } = 1536;

    public uint HeaderVersion { get; set; } = 0x00010000;

    public uint? TableEntries { get; set; }

    public uint BlockSize { get; set; } = 1 << 20;

    public Guid Parent { get; set; }

    public uint ParentTimeStamp { get; set; }

    public string ParentName { get; set; } = string.Empty;

    /// <summary>Platform code as four letters, room as stored, text.</summary>
    public List<(string Code, uint Space, byte[] Text)> Locators { get; } = [];

    /// <summary>Table entries as stored; missing ones are free.</summary>
    public Dictionary<int, uint> Entries { get; } = [];

    /// <summary>Blocks to place one after another: bitmap (first sector in bit 0x80 of the first byte) and content.</summary>
    public List<(int Index, byte[] Bitmap, byte[] Content)> Blocks { get; } = [];

    /// <summary>Length of the footer at the end: 512, 511 or 0.</summary>
    public int FooterLength { get; set; } = 512;

    public int BitmapSize => (int)(((BlockSize / 512 / 8) + 511) / 512 * 512);

    public uint Count => TableEntries ?? (uint)((DiskSize + BlockSize - 1) / BlockSize);

    /// <summary>Where the first of <see cref="Blocks"/> goes.</summary>
    public long FirstBlock { get; private set; }

    public byte[] Footer()
    {
        var f = new byte[512];
        "conectix"u8.CopyTo(f);
        Put(f, 8, Features);
        Put(f, 12, Version);
        BinaryPrimitives.WriteUInt64BigEndian(f.AsSpan(16), DataOffset ?? (Type == 2 ? ulong.MaxValue : 512));
        Put(f, 24, TimeStamp);
        Encoding.ASCII.GetBytes(Creator.PadRight(4)).CopyTo(f, 28);
        BinaryPrimitives.WriteUInt64BigEndian(f.AsSpan(40), DiskSize);
        BinaryPrimitives.WriteUInt64BigEndian(f.AsSpan(48), DiskSize);
        Put(f, 56, Geometry);
        Put(f, 60, Type);
        Uuid.TryWriteBytes(f.AsSpan(68));
        f[84] = SavedState;
        return Summed(f, 64);
    }

    /// <summary>A fixed image with this content, or a sparse one with <see cref="Blocks"/>.</summary>
    public byte[] Build(byte[]? fixedContent = null, int atLeast = 0)
    {
        if (fixedContent is not null)
        {
            return [.. fixedContent, .. Footer().AsSpan(0, FooterLength)];
        }

        var file = new MemoryStream();
        file.Write(Footer());
        var header = new byte[1024];
        var at = (long)Math.Min(1 << 20, TableOffset) + ((4L * Math.Min(Count, 1 << 16)) + 511) / 512 * 512;
        var table = new byte[at - (long)Math.Min(1 << 20, TableOffset)];
        table.AsSpan().Fill(0xFF);
        WriteAt(file, (long)Math.Min(1 << 20, TableOffset), table);

        "cxsparse"u8.CopyTo(header);
        header.AsSpan(8, 8).Fill(0xFF);
        BinaryPrimitives.WriteUInt64BigEndian(header.AsSpan(16), TableOffset);
        Put(header, 24, HeaderVersion);
        Put(header, 28, Count);
        Put(header, 32, BlockSize);
        Parent.TryWriteBytes(header.AsSpan(40));
        Put(header, 56, ParentTimeStamp);
        Encoding.BigEndianUnicode.GetBytes(ParentName).CopyTo(header, 64);
        for (var i = 0; i < Locators.Count; i++)
        {
            var (code, space, text) = Locators[i];
            Encoding.ASCII.GetBytes(code).CopyTo(header, 576 + (24 * i));
            Put(header, 576 + (24 * i) + 4, space);
            Put(header, 576 + (24 * i) + 8, (uint)text.Length);
            BinaryPrimitives.WriteInt64BigEndian(header.AsSpan(576 + (24 * i) + 16), at);
            WriteAt(file, at, text);
            at += 1024;
        }

        WriteAt(file, 512, Summed(header, 36));
        FirstBlock = at;
        foreach (var (index, bitmap, content) in Blocks)
        {
            Entries[index] = (uint)(at / 512);
            WriteAt(file, at, bitmap);
            WriteAt(file, at + BitmapSize, content);
            at += BitmapSize + content.Length;
        }

        foreach (var (index, value) in Entries)
        {
            var entry = new byte[4];
            Put(entry, 0, value);
            WriteAt(file, (long)TableOffset + (4L * index), entry);
        }

        file.SetLength(Math.Max(at, atLeast - FooterLength));
        WriteAt(file, file.Length, Footer()[..FooterLength]);
        return file.ToArray();
    }

    public static byte[] Summed(byte[] bytes, int field)
    {
        Put(bytes, field, 0);
        Put(bytes, field, ~(uint)bytes.Sum(static b => b));
        return bytes;
    }

    private static void Put(byte[] bytes, int at, uint value) => BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(at), value);

    private static void WriteAt(MemoryStream file, long at, byte[] bytes)
    {
        file.Position = at;
        file.Write(bytes);
    }
}
