using System.Buffers.Binary;
using System.Text;

namespace BlockMount.Core.Tests.Formats;

/// <summary>Lays out VDI files field by field, independently of the program, so that any variant and any nonsense can be made.</summary>
internal sealed class VdiBuilder
{
    public uint Signature { get; set; } = 0xBEDA107F;

    public uint Version { get; set; } = 0x00010001;

    public uint HeaderSize { get; set; } = 400;

    public uint Type { get; set; } = 1;

    public uint Flags { get; set; }

    public string Comment { get; set; } = string.Empty;

    public uint TableOffset { get; set; } = 512;

    public uint? DataOffset { get; set; }

    public long DiskSize { get; set; } = 4 << 20;

    public uint BlockSize { get; set; } = 1 << 20;

    public uint BlockExtra { get; set; }

    public uint? BlockCount { get; set; }

    public uint? Allocated { get; set; }

    public Guid Uuid { get; set; } = Guid.NewGuid();

    public Guid Modify { get; set; } = Guid.NewGuid();

    public Guid Linkage { get; set; }

    public Guid ParentModify { get; set; }

    /// <summary>Table entries; missing ones are free.</summary>
    public Dictionary<int, uint> Entries { get; } = [];

    /// <summary>Content by slot.</summary>
    public Dictionary<uint, byte[]> Blocks { get; } = [];

    public bool IsVersion0 => Version == 2;

    public uint Count => BlockCount ?? (uint)((DiskSize + BlockSize - 1) / BlockSize);

    public uint Data => IsVersion0 ? 420 + (4 * Count) : DataOffset ?? ((TableOffset + (4 * Count) + 511) / 512 * 512);

    public byte[] Build(long? length = null)
    {
        var slots = Entries.Values.Where(e => e < 0xFFFFFFFE).Select(e => (long)e + 1).DefaultIfEmpty(0).Max();
        var table = IsVersion0 ? 420 : TableOffset;
        var file = new byte[length ?? Math.Max(512, Data + (slots * ((long)BlockSize + BlockExtra)))];
        var full = new byte[Math.Max(file.Length, Math.Max(512, table + (4 * Math.Min(Count, 1 << 20))))];
        Encoding.ASCII.GetBytes("<<< a test's disk image >>>\n").CopyTo(full, 0);
        Put(64, Signature);
        Put(68, Version);
        var at = 72;
        if (!IsVersion0)
        {
            Put(at, HeaderSize);
            at += 4;
        }

        Put(at, Type);
        Put(at + 4, Flags);
        Encoding.UTF8.GetBytes(Comment).CopyTo(full, at + 8);
        at += 8 + 256;
        if (!IsVersion0)
        {
            Put(at, TableOffset);
            Put(at + 4, Data);
            at += 8;
        }

        Put(at + 12, 512);
        at += 16;
        if (!IsVersion0)
        {
            at += 4;
        }

        BinaryPrimitives.WriteInt64LittleEndian(full.AsSpan(at), DiskSize);
        Put(at + 8, BlockSize);
        at += 12;
        if (!IsVersion0)
        {
            Put(at, BlockExtra);
            at += 4;
        }

        Put(at, Count);
        Put(at + 4, Allocated ?? (uint)Entries.Values.Count(e => e < 0xFFFFFFFE));
        at += 8;
        Uuid.TryWriteBytes(full.AsSpan(at));
        Modify.TryWriteBytes(full.AsSpan(at + 16));
        Linkage.TryWriteBytes(full.AsSpan(at + 32));
        if (!IsVersion0)
        {
            ParentModify.TryWriteBytes(full.AsSpan(at + 48));
            if (HeaderSize >= 400)
            {
                Put(at + 64 + 12, 512);
            }
        }

        for (var i = 0; i < Math.Min(Count, 1 << 20); i++)
        {
            if (table + (4 * i) + 4 <= full.Length)
            {
                Put((int)(table + (4 * i)), Entries.GetValueOrDefault(i, 0xFFFFFFFF));
            }
        }

        foreach (var (slot, content) in Blocks)
        {
            content.CopyTo(full, Data + (slot * (BlockSize + BlockExtra)) + BlockExtra);
        }

        return full.AsSpan(0, file.Length).ToArray();

        void Put(int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(full.AsSpan(offset), value);
    }
}
