using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace BlockMount.Core.Tests.Hostile;

/// <summary>Changes a good file into a hostile one. What it does follows from the random numbers alone.</summary>
internal sealed class Mutator(Random random, HostileSeed seed, IReadOnlyList<HostileSeed> others)
{
    private static readonly string[] Lines =
    [
        "RW 60 ZERO", "RW 100 FLAT \"f.vmdk\" 8", "RW 160 SPARSE \"s.vmdk\"", "RW 1600 SPARSE \"test.vmdk\"", "RW 18014398509481983 ZERO", "RW 9007199254740991 ZERO", "RW 1 SESPARSE \"s.vmdk\"",
        "RDONLY 1 VMFS \"f.vmdk\"", "NOACCESS 9 SPARSE \"none\"", "RW 8 FLAT \"../f.vmdk\" 0", "RW 8 FLAT \"/dev/null\" 0", "RW 8 FLAT \"\" 0", "RW 8 FLAT \"t.vmdk\" 18014398509481982", "RW", "RW 5 \u0001\u007f \"x\"",
        "CID=1", "parentCID=0badcafe", "parentCID=00000000", "parentFileNameHint=\"t.vmdk\"", "parentFileNameHint=\"../../x\"", "parentFileNameHint=\"\"", "changeTrackPath=\"x\"", "version=3", "=", "\"", "# Disk DescriptorFile",
        "ddb.uuid.parent=\"11111111-1111-4111-8111-111111111111\"", "ddb.uuid.modification=\"{{22222222-2222-4222-8222-222222222222\"", "ddb.comment=\"\u001b[31m\\\"", "ddb.geometry.heads=\"99999999999\"",
        "<HardDisk uuid=\"{aaaaaaaa-0000-4000-8000-000000000001}\" location=\"../../../x\" format=\"VDI\">", "</HardDisk>", "<Snapshot uuid=\"{aaaaaaaa-0000-4000-8000-000000000001}\">", "<Machine>", "<!DOCTYPE a>", "<?x?>", "&lt;&#1;&#xFFFF;",
        "<Image uuid=\"{bbbbbbbb-0000-4000-8000-000000000001}\"/>", "<AttachedDevice type=\"HardDisk\" port=\"-1\" device=\"99999999999\">", "<a", "]]>", "<![CDATA[", "<HardDisk uuid=\"1\" location=\"&#10;\"/>", "<Global/>",
    ];

    private static readonly string[] Numbers =
    [
        "0", "1", "-1", "2", "7", "2147483647", "2147483648", "4294967295", "4294967296", "9007199254740992", "18014398509481983", "18014398509481984", "9223372036854775807",
        "9223372036854775808", "18446744073709551616", "99999999999999999999999999", "ffffffff", "1e3", "0x10", " 5", "+5", "٣",
    ];

    public void Run(HostileFile file)
    {
        var count = 1;
        while (count < 8 && random.Next(2) == 0)
        {
            count++;
        }

        for (var i = 0; i < count; i++)
        {
            if (seed.Text is { } text && random.Next(seed.Format == "vbox" ? 4 : 2) > 0)
            {
                ChangeText(file, text.Offset, text.Length);
            }
            else
            {
                ChangeBytes(file);
            }
        }

        if (seed.Seal is { } seal && file.Length >= 512 && random.Next(2) == 0)
        {
            seal(file);
        }
    }

    private void ChangeBytes(HostileFile file)
    {
        var kind = random.Next(100);
        if (file.Length < 16 || kind >= 97)
        {
            file.SetLength(file.Length + Math.Max(1, Near(random.Next(1 << random.Next(1, 17)))));
            return;
        }

        var at = Place(file);
        switch (kind)
        {
            case < 15:
                file[at] ^= (byte)(1 << random.Next(8));
                break;
            case < 20:
                file[at] = (byte)random.Next(256);
                break;
            case < 75:
                SetField(file, at);
                break;
            case < 82:
                // An entry or field named twice, or a little beside another.
                at = Math.Min(at & ~3L, file.Length - 4);
                var from = Math.Min(Place(file) & ~3L, file.Length - 4);
                var value = file.Read(from, 4);
                value[random.Next(4)] += (byte)(random.Next(3) - 1);
                file.Write(at, value);
                break;
            case < 86:
                Move(file, file, at);
                break;
            case < 89:
                var other = others[random.Next(others.Count)];
                Move(new HostileFile(other.Files[other.Target]), file, at);
                break;
            case < 92:
                var fill = new byte[(int)Math.Min(random.Next(1, 1024), file.Length - at)];
                fill.AsSpan().Fill((byte)(random.Next(2) * 0xFF));
                file.Write(at, fill);
                break;
            default:
                file.SetLength(random.Next(3) == 0 ? at : Near(file.Length - random.NextInt64(Math.Min(file.Length, 1 << random.Next(1, 20)))));
                break;
        }
    }

    private void SetField(HostileFile file, long at)
    {
        var size = random.Next(10) switch { < 2 => 2, < 7 => 4, _ => 8 };
        at = random.Next(10) < 7 ? at & ~(long)(Math.Min(size, 4) - 1) : at;
        at = Math.Max(0, Math.Min(at, file.Length - size));
        var bytes = new byte[8];
        file.Read(at, bytes.AsSpan(0, size));
        var big = seed.Format == "vhd" ? random.Next(8) > 0 : random.Next(8) == 0;
        var old = size switch
        {
            2 => big ? BinaryPrimitives.ReadUInt16BigEndian(bytes) : BinaryPrimitives.ReadUInt16LittleEndian(bytes),
            4 => big ? BinaryPrimitives.ReadUInt32BigEndian(bytes) : BinaryPrimitives.ReadUInt32LittleEndian(bytes),
            _ => big ? BinaryPrimitives.ReadUInt64BigEndian(bytes) : BinaryPrimitives.ReadUInt64LittleEndian(bytes),
        };
        var value = Value(old, file.Length, size * 8);
        if (big)
        {
            BinaryPrimitives.WriteUInt64BigEndian(bytes, value << (64 - (8 * size)));
        }
        else
        {
            BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        }

        file.Write(at, bytes.AsSpan(0, size));
    }

    private ulong Value(ulong old, long length, int bits) => random.Next(16) switch
    {
        0 => 0,
        1 => 1,
        2 => ulong.MaxValue,
        3 => ulong.MaxValue - 1,
        4 => (1UL << (bits - 1)) - 1,
        5 => 1UL << (bits - 1),
        6 => (ulong)(length + random.Next(3) - 1),
        7 => (ulong)((length / 512) + random.Next(3) - 1),
        8 => 1UL << random.Next(bits),
        9 => (1UL << random.Next(bits)) - 1,
        10 => old * 2,
        11 => old / 2,
        12 => old + 1,
        13 => old - 1,
        14 => (ulong)random.Next(1, 256),
        _ => (ulong)random.NextInt64(),
    };

    private void Move(HostileFile from, HostileFile to, long at)
    {
        var count = (int)Math.Min(1L << random.Next(2, 13), Math.Min(from.Length, to.Length - at));
        var start = Math.Min(random.Next(2) == 0 ? Place(from) : random.NextInt64(from.Length), from.Length - count);
        var bytes = from.Read(Math.Max(0, start), Math.Max(0, count));
        if (ReferenceEquals(from, to) && random.Next(2) == 0)
        {
            to.Write(start, to.Read(at, count));
        }

        to.Write(at, bytes);
    }

    private long Place(HostileFile file)
    {
        if (random.Next(10) == 0 || seed.Hot.Length == 0)
        {
            return random.NextInt64(file.Length);
        }

        var (offset, length) = seed.Hot[random.Next(seed.Hot.Length)];
        return Math.Min(offset + random.Next(length), file.Length - 1);
    }

    /// <summary>Often a multiple of a sector, or one beside it.</summary>
    private long Near(long value) => Math.Max(0, random.Next(3) switch { 0 => value, 1 => value / 512 * 512, _ => (value / 512 * 512) + random.Next(3) - 1 });

    private void ChangeText(HostileFile file, int offset, int room)
    {
        if (file.Length <= offset)
        {
            return;
        }

        var isWholeFile = offset == 0;
        var bytes = file.Read(offset, (int)Math.Min(isWholeFile ? file.Length : room, file.Length - offset));
        var end = Array.IndexOf(bytes, (byte)0);
        var changed = Encoding.Latin1.GetBytes(Changed(Encoding.Latin1.GetString(bytes, 0, end < 0 ? bytes.Length : end)));
        if (isWholeFile)
        {
            file.SetLength(0);
            file.Write(0, changed);
            return;
        }

        Array.Resize(ref changed, room);
        file.Write(offset, changed);
    }

    private string Changed(string text)
    {
        var lines = text.Split('\n').ToList();
        var at = random.Next(lines.Count);
        switch (random.Next(12))
        {
            case 0: lines.Insert(random.Next(lines.Count), lines[at]); break;
            case 1: lines.RemoveAt(at); break;
            case 2: (lines[at], lines[^1]) = (lines[^1], lines[at]); break;
            case 3 or 4 or 5: lines[at] = WithNumber(lines[at]); break;
            case 6: lines.Insert(at, Lines[random.Next(Lines.Length)]); break;
            case 7: lines[at] = Lines[random.Next(Lines.Length)]; break;
            case 8: lines[at] += new string("x \"=<\t\u00ff"[random.Next(7)], 1 << random.Next(4, random.Next(50) == 0 ? 21 : 13)); break;
            case 9: lines[at] = WithChar(lines[at]); break;
            case 10: lines[at] = lines[at][..random.Next(lines[at].Length + 1)]; break;
            default: lines[at] = lines[at] + (random.Next(2) == 0 ? "\r" : lines[random.Next(lines.Count)]); break;
        }

        return string.Join('\n', lines);
    }

    private string WithNumber(string line)
    {
        var digits = Enumerable.Range(0, line.Length).Where(i => char.IsAsciiHexDigit(line[i])).ToArray();
        if (digits.Length == 0)
        {
            return WithChar(line);
        }

        var first = digits[random.Next(digits.Length)];
        while (first > 0 && char.IsAsciiHexDigit(line[first - 1]))
        {
            first--;
        }

        var end = first;
        while (end < line.Length && char.IsAsciiHexDigit(line[end]))
        {
            end++;
        }

        var number = random.Next(3) == 0 ? random.Next(1, 2000).ToString(CultureInfo.InvariantCulture) : Numbers[random.Next(Numbers.Length)];
        return line[..first] + number + line[end..];
    }

    private string WithChar(string line)
    {
        var at = random.Next(line.Length + 1);
        var c = "\0\u0001\u001b\u007f\u0085\u00a0\u00c3\u00ff\"'=#<>/\\&{} "[random.Next(20)];
        return random.Next(2) == 0 || at == line.Length ? line.Insert(at, c.ToString()) : line[..at] + c + line[(at + 1)..];
    }
}
