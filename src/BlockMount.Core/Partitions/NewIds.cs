namespace BlockMount.Core.Partitions;

/// <summary>Identities for new tables.</summary>
/// <param name="random">Null: ones that nobody else has.</param>
internal sealed class NewIds(Random? random)
{
    /// <summary>A version 4 GUID (RFC 9562, section 5.4).</summary>
    public Guid Guid()
    {
        if (random is null)
        {
            return System.Guid.NewGuid();
        }

        Span<byte> bytes = stackalloc byte[16];
        random.NextBytes(bytes);
        bytes[6] = (byte)((bytes[6] & 0x0F) | 0x40);
        bytes[8] = (byte)((bytes[8] & 0x3F) | 0x80);
        return new Guid(bytes, bigEndian: true);
    }

    /// <summary>Not 0, which stands for none.</summary>
    public uint DiskSignature()
    {
        var bytes = Guid().ToByteArray();
        return BitConverter.ToUInt32(bytes, 0) | 1;
    }
}
