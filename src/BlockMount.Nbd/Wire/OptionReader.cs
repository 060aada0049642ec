using System.Buffers.Binary;
using System.Text;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Wire;

/// <summary>Takes an option's payload apart; every length is checked against what is left before it is used.</summary>
internal ref struct OptionReader(ReadOnlySpan<byte> payload)
{
    private static readonly UTF8Encoding s_strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    private ReadOnlySpan<byte> _left = payload;

    /// <summary>Bytes not taken yet.</summary>
    public readonly int Left => _left.Length;

    public bool TryU16(out ushort value)
    {
        var there = BinaryPrimitives.TryReadUInt16BigEndian(_left, out value);
        _left = there ? _left[2..] : _left;
        return there;
    }

    public bool TryU32(out uint value)
    {
        var there = BinaryPrimitives.TryReadUInt32BigEndian(_left, out value);
        _left = there ? _left[4..] : _left;
        return there;
    }

    /// <summary>A 32-bit length and that many bytes of text; false when cut short, over 4096 bytes, or no valid string.</summary>
    public bool TryString(out string value)
    {
        value = "";
        if (!TryU32(out var length) || length > (uint)_left.Length || !TryText(_left[..(int)length], out value))
        {
            return false;
        }

        _left = _left[(int)length..];
        return true;
    }

    /// <summary>Text without NUL, valid UTF-8, at most 4096 bytes.</summary>
    public static bool TryText(ReadOnlySpan<byte> bytes, out string value)
    {
        value = "";
        if (bytes.Length > MaxStringLength || bytes.Contains((byte)0))
        {
            return false;
        }

        try
        {
            value = s_strict.GetString(bytes);
            return true;
        }
        catch (DecoderFallbackException)
        {
            return false;
        }
    }
}
