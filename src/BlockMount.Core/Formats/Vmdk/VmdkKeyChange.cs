using System.Text;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>What becomes of one key of a descriptor.</summary>
/// <param name="Key">The key.</param>
/// <param name="Value">Its new value; null takes its line away.</param>
internal readonly record struct VmdkKeyChange(string Key, string? Value)
{
    /// <summary>Empty values and UUIDs of zeros say what a missing key says.</summary>
    private bool SaysNothing => Value is null or "" or "00000000-0000-0000-0000-000000000000";

    private bool IsInDataBase => Key.StartsWith("ddb.", StringComparison.Ordinal);

    /// <summary>Numbers of the header stand without quotes, for some programs read them as they stand.</summary>
    private string Quoted => Key is KeyContentId or KeyParentContentId ? Value! : $"\"{Value}\"";

    /// <summary>The text after the changes; every other byte of it stays.</summary>
    /// <param name="descriptor">What <paramref name="text"/> says.</param>
    /// <param name="text">The text without what follows its end.</param>
    /// <param name="changes">Each key once.</param>
    public static byte[] Apply(VmdkDescriptor descriptor, ReadOnlySpan<byte> text, IReadOnlyList<VmdkKeyChange> changes)
    {
        var lineEnd = text.IndexOf("\r\n"u8) >= 0 ? "\r\n" : "\n";
        var edits = new List<(int At, int Length, string Put)>();
        foreach (var change in changes)
        {
            if (descriptor.Find(change.Key) is not { } old)
            {
                if (!change.SaysNothing)
                {
                    edits.Add(Added(descriptor, text, change, lineEnd));
                }
            }
            else if (change.Value is null)
            {
                var start = text[..old.FieldOffset].LastIndexOf((byte)'\n') + 1;
                edits.Add((start, EndOfLine(text, old.FieldOffset) - start, string.Empty));
            }
            else if (!string.Equals(old.Text, change.Value, StringComparison.Ordinal))
            {
                edits.Add((old.FieldOffset, old.FieldLength, change.Quoted));
            }
        }

        var result = new List<byte>(text.Length + 1024);
        var at = 0;
        foreach (var (from, length, put) in edits.OrderBy(static e => e.At).ThenBy(static e => e.Length))
        {
            result.AddRange(text[at..from]);
            if (put.Length > 0 && from == text.Length && length == 0 && result[^1] != (byte)'\n')
            {
                result.AddRange(Encoding.UTF8.GetBytes(lineEnd));
            }

            result.AddRange(Encoding.UTF8.GetBytes(put));
            at = from + length;
        }

        result.AddRange(text[at..]);
        return [.. result];
    }

    /// <summary>The disk data base comes last, so its keys go to the end; others must stand in front of the extents.</summary>
    private static (int At, int Length, string Put) Added(VmdkDescriptor descriptor, ReadOnlySpan<byte> text, VmdkKeyChange change, string lineEnd)
    {
        var line = $"{change.Key}={change.Quoted}{lineEnd}";
        if (change.IsInDataBase)
        {
            return (text.Length, 0, line);
        }

        var before = (descriptor.Find(KeyParentContentId) ?? descriptor.Find(KeyContentId) ?? descriptor.Find(KeyVersion))!.Value;
        return (EndOfLine(text, before.FieldOffset), 0, line);
    }

    /// <summary>Byte behind the end of the line.</summary>
    private static int EndOfLine(ReadOnlySpan<byte> text, int at) => text[at..].IndexOf((byte)'\n') is var end and >= 0 ? at + end + 1 : text.Length;
}
