using System.Buffers.Binary;
using BlockMount.Core.Partitions;
using BlockMount.Core.Tests.Formats;

namespace BlockMount.Core.Tests.Hostile;

/// <summary>What a forger would do to a changed file: make checksums right and copies agree.</summary>
internal static class HostileSeals
{
    /// <summary>The footer copy, the dynamic header it names, and the footer.</summary>
    public static void Vhd(HostileFile file)
    {
        var head = Summed(file, 0, 512, 64, "conectix"u8);
        if (head is not null && BinaryPrimitives.ReadUInt64BigEndian(head.AsSpan(16)) is var header && header <= (ulong)file.Length)
        {
            Summed(file, (long)header, 1024, 36, "cxsparse"u8);
        }

        if (head is not null && file.Length >= 2048 && file.Read(file.Length - 512, 8).AsSpan().SequenceEqual("conectix"u8))
        {
            file.Write(file.Length - 512, head);
        }

        Summed(file, file.Length - 512, 512, 64, "conectix"u8);
    }

    /// <summary>The redundant grain tables become what the primary ones are.</summary>
    public static void Vmdk(HostileFile file)
    {
        var header = file.Read(0, 80);
        var entries = BinaryPrimitives.ReadUInt32LittleEndian(header.AsSpan(44));
        var redundant = BinaryPrimitives.ReadUInt64LittleEndian(header.AsSpan(48));
        var primary = BinaryPrimitives.ReadUInt64LittleEndian(header.AsSpan(56));
        "\n \r\n"u8.CopyTo(header.AsSpan(73));
        file.Write(73, header.AsSpan(73, 4));
        if (entries > 65536 || redundant is 0 or > 100 || primary is 0 or > 100)
        {
            return;
        }

        for (var i = 0; i < 2; i++)
        {
            var from = BinaryPrimitives.ReadUInt32LittleEndian(file.Read(((long)primary * 512) + (4 * i), 4));
            var to = BinaryPrimitives.ReadUInt32LittleEndian(file.Read(((long)redundant * 512) + (4 * i), 4));
            if (from is > 0 and < 100 && to is > 0 and < 100)
            {
                file.Write(to * 512L, file.Read(from * 512L, (int)entries * 4));
            }
        }
    }

    /// <summary>The checksums of both headers and of their entries.</summary>
    public static void Gpt(HostileFile file)
    {
        foreach (var at in new[] { 512, file.Length - 512 })
        {
            if (at < 0)
            {
                continue;
            }

            var header = file.Read(at, 92);
            var entries = BinaryPrimitives.ReadUInt64LittleEndian(header.AsSpan(72));
            var size = (long)BinaryPrimitives.ReadUInt32LittleEndian(header.AsSpan(80)) * BinaryPrimitives.ReadUInt32LittleEndian(header.AsSpan(84));
            if (entries < 1 << 20 && size is >= 0 and < 1 << 17)
            {
                BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(88), Crc32.Of(file.Read((long)entries * 512, (int)size)));
            }

            header.AsSpan(16, 4).Clear();
            BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(16), Crc32.Of(header));
            file.Write(at, header);
        }
    }

    private static byte[]? Summed(HostileFile file, long at, int length, int field, ReadOnlySpan<byte> mark)
    {
        if (at < 0 || at > file.Length - length)
        {
            return null;
        }

        var bytes = file.Read(at, length);
        if (!bytes.AsSpan().StartsWith(mark))
        {
            return null;
        }

        file.Write(at, VhdBuilder.Summed(bytes, field));
        return bytes;
    }
}
