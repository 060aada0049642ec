using System.Runtime.InteropServices;

namespace BlockMount.Platform.Kernel;

/// <summary>The attributes of an answer, in order; one that reaches past the end of the message ends the list.</summary>
internal static class NetlinkAttributes
{
    private const int HeaderSize = 4;

    public static IReadOnlyList<(ushort Type, ReadOnlyMemory<byte> Value)> Parse(ReadOnlyMemory<byte> bytes)
    {
        var found = new List<(ushort, ReadOnlyMemory<byte>)>();
        while (bytes.Length >= HeaderSize)
        {
            var length = MemoryMarshal.Read<ushort>(bytes.Span);
            var type = MemoryMarshal.Read<ushort>(bytes.Span[2..]);
            if (length < HeaderSize || length > bytes.Length)
            {
                break;
            }

            found.Add(((ushort)(type & ~NetlinkWriter.NestedFlag), bytes[HeaderSize..length]));
            bytes = bytes[Math.Min(bytes.Length, (length + 3) & ~3)..];
        }

        return found;
    }

    /// <summary>The first number of that type; null when there is none of its size.</summary>
    public static T? Find<T>(ReadOnlyMemory<byte> bytes, ushort type)
        where T : unmanaged
    {
        foreach (var (at, value) in Parse(bytes))
        {
            if (at == type && MemoryMarshal.TryRead<T>(value.Span, out var number))
            {
                return number;
            }
        }

        return null;
    }
}
