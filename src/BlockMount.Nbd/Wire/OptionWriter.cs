using System.Buffers;
using System.Buffers.Binary;
using System.Text;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Wire;

/// <summary>Formats what the server says before transmission ("Newstyle negotiation", "Option replies").</summary>
internal sealed class OptionWriter(IBufferWriter<byte> output)
{
    public void Greeting(ushort handshakeFlags)
    {
        U64(NBDMAGIC);
        U64(IHAVEOPT);
        U16(handshakeFlags);
    }

    public void Ack(uint option) => Header(option, NBD_REP_ACK, 0);

    /// <param name="option">The option answered.</param>
    /// <param name="type">One of the NBD_REP_ERR values.</param>
    /// <param name="sentence">For humans; well below 4096 bytes.</param>
    public void Error(uint option, uint type, string sentence)
    {
        Header(option, type, Encoding.UTF8.GetByteCount(sentence));
        Text(sentence);
    }

    public void Server(uint option, string name, string description)
    {
        var nameLength = Encoding.UTF8.GetByteCount(name);
        Header(option, NBD_REP_SERVER, 4 + nameLength + Encoding.UTF8.GetByteCount(description));
        U32((uint)nameLength);
        Text(name);
        Text(description);
    }

    public void InfoExport(uint option, ulong size, ushort transmissionFlags)
    {
        Header(option, NBD_REP_INFO, 12);
        U16(NBD_INFO_EXPORT);
        U64(size);
        U16(transmissionFlags);
    }

    public void InfoText(uint option, ushort information, string text)
    {
        Header(option, NBD_REP_INFO, 2 + Encoding.UTF8.GetByteCount(text));
        U16(information);
        Text(text);
    }

    public void InfoBlockSize(uint option, uint minimum, uint preferred, uint maximum)
    {
        Header(option, NBD_REP_INFO, 14);
        U16(NBD_INFO_BLOCK_SIZE);
        U32(minimum);
        U32(preferred);
        U32(maximum);
    }

    public void MetaContext(uint option, uint id, string name)
    {
        Header(option, NBD_REP_META_CONTEXT, 4 + Encoding.UTF8.GetByteCount(name));
        U32(id);
        Text(name);
    }

    /// <summary>The answer to NBD_OPT_EXPORT_NAME, which has no header.</summary>
    public void ExportNameReply(ulong size, ushort transmissionFlags, bool padding)
    {
        U64(size);
        U16(transmissionFlags);
        if (padding)
        {
            output.GetSpan(ExportNamePadding)[..ExportNamePadding].Clear();
            output.Advance(ExportNamePadding);
        }
    }

    private void Header(uint option, uint type, int length)
    {
        U64(NBD_REP_MAGIC);
        U32(option);
        U32(type);
        U32((uint)length);
    }

    private void Text(string text) => Encoding.UTF8.GetBytes(text, output);

    private void U16(ushort value)
    {
        BinaryPrimitives.WriteUInt16BigEndian(output.GetSpan(2), value);
        output.Advance(2);
    }

    private void U32(uint value)
    {
        BinaryPrimitives.WriteUInt32BigEndian(output.GetSpan(4), value);
        output.Advance(4);
    }

    private void U64(ulong value)
    {
        BinaryPrimitives.WriteUInt64BigEndian(output.GetSpan(8), value);
        output.Advance(8);
    }
}
