using System.Buffers.Binary;

namespace BlockMount.Nbd.Wire;

/// <summary>The payload of a BLOCK_STATUS that asks about some of the selected contexts only ("NBD_CMD_BLOCK_STATUS", payload form).</summary>
internal static class StatusQuery
{
    private const int LengthSize = 8;
    private const int IdSize = 4;

    /// <summary>Bytes of the longest payload that can be valid: every context once. What is longer names one twice or one there is not.</summary>
    public const int MaxSize = LengthSize + (2 * IdSize);

    /// <summary>False for a payload without contexts, with half a context, or with one that was not selected or is there twice.</summary>
    /// <param name="payload">Whole, of any length.</param>
    /// <param name="selected">The contexts that the handshake agreed on.</param>
    /// <param name="length">Bytes of the export asked about, unchecked.</param>
    /// <param name="wanted">The contexts named.</param>
    public static bool TryParse(ReadOnlySpan<byte> payload, NbdMetaContexts selected, out ulong length, out NbdMetaContexts wanted)
    {
        length = 0;
        wanted = NbdMetaContexts.None;
        if (payload.Length is <= LengthSize or > MaxSize || (payload.Length - LengthSize) % IdSize != 0)
        {
            return false;
        }

        length = BinaryPrimitives.ReadUInt64BigEndian(payload);
        for (payload = payload[LengthSize..]; !payload.IsEmpty; payload = payload[IdSize..])
        {
            var context = (NbdMetaContexts)BinaryPrimitives.ReadUInt32BigEndian(payload);
            if (context is not (NbdMetaContexts.BaseAllocation or NbdMetaContexts.AllocationDepth) || (context & selected & ~wanted) == 0)
            {
                return false;
            }

            wanted |= context;
        }

        return true;
    }
}
