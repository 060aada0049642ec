using System.Buffers.Binary;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Text;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests.Support;

internal sealed record OptionReply(uint Option, uint Type, byte[] Data)
{
    public string Text => Encoding.UTF8.GetString(Data);
}

/// <param name="Error">0, or the error value of the reply or chunk.</param>
internal sealed record Reply(bool IsSimple, ushort Flags, ushort Type, ulong Cookie, uint Error, byte[] Data)
{
    /// <summary>The request's offset as an extended chunk repeats it.</summary>
    public ulong? RequestOffset { get; init; }

    /// <summary>Puts the bytes that a content chunk or simple reply stands for where they belong in a buffer that starts at <paramref name="start"/>.</summary>
    public void PutInto(Span<byte> buffer, ulong start)
    {
        if (IsSimple)
        {
            Data.CopyTo(buffer);
            return;
        }

        var at = checked((int)(BinaryPrimitives.ReadUInt64BigEndian(Data) - start));
        if (Type == NBD_REPLY_TYPE_OFFSET_HOLE)
        {
            buffer.Slice(at, checked((int)BinaryPrimitives.ReadUInt32BigEndian(Data.AsSpan(8)))).Clear();
        }
        else
        {
            Assert.Equal(NBD_REPLY_TYPE_OFFSET_DATA, Type);
            Data.AsSpan(8).CopyTo(buffer[at..]);
        }
    }

    public bool IsLast => IsSimple || Flags == NBD_REPLY_FLAG_DONE;

    /// <summary>The text of an error chunk.</summary>
    public string Text => Encoding.UTF8.GetString(Data.AsSpan(6, BinaryPrimitives.ReadUInt16BigEndian(Data.AsSpan(4))));
}

/// <summary>Says to a server exactly what a test wants said, right or wrong. Every wait has a deadline.</summary>
internal sealed class RawClient : IDisposable
{
    private readonly Socket _socket;
    private SslStream? _tls;

    public RawClient(string path)
        : this(new UnixDomainSocketEndPoint(path))
    {
    }

    public RawClient(EndPoint server)
    {
        _socket = new Socket(server.AddressFamily, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = 20_000, SendTimeout = 20_000 };
        _socket.Connect(server);
    }

    /// <summary>How requests are sent, and replies expected.</summary>
    public NbdReplyStyle Style { get; set; }

    public bool Structured => Style != NbdReplyStyle.Simple;

    public Socket Socket => _socket;

    /// <summary>Shakes hands in TLS, after which everything goes through it, and through what is put below it.</summary>
    public SslStream StartTls(SslClientAuthenticationOptions options, Func<Stream, Stream>? below = null)
    {
        var network = new NetworkStream(_socket);
        var tls = new SslStream(below?.Invoke(network) ?? network);
        tls.AuthenticateAsClient(options);
        return _tls = tls;
    }

    public void Send(ReadOnlySpan<byte> bytes)
    {
        if (_tls is not null)
        {
            _tls.Write(bytes);
            return;
        }

        while (!bytes.IsEmpty)
        {
            bytes = bytes[_socket.Send(bytes)..];
        }
    }

    public byte[] Receive(int count)
    {
        var bytes = new byte[count];
        Receive(bytes.AsSpan());
        return bytes;
    }

    public void Receive(Span<byte> into)
    {
        for (var at = 0; at < into.Length;)
        {
            var read = _tls?.Read(into[at..]) ?? _socket.Receive(into[at..]);
            if (read == 0)
            {
                Assert.Fail($"the server closed after {at} of {into.Length} bytes");
            }

            at += read;
        }
    }

    /// <summary>Whether the server has closed, or reset, the connection and nothing is left to read.</summary>
    public bool IsClosed()
    {
        try
        {
            return (_tls?.Read(new byte[1]) ?? _socket.Receive(new byte[1])) == 0;
        }
        catch (IOException e) when (e.InnerException is SocketException { SocketErrorCode: SocketError.ConnectionReset })
        {
            return true;
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.ConnectionReset)
        {
            return true;
        }
    }

    public void Greeting()
    {
        var greeting = Receive(18);
        Assert.Equal(NBDMAGIC, BinaryPrimitives.ReadUInt64BigEndian(greeting));
        Assert.Equal(IHAVEOPT, BinaryPrimitives.ReadUInt64BigEndian(greeting.AsSpan(8)));
        Assert.Equal(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES, BinaryPrimitives.ReadUInt16BigEndian(greeting.AsSpan(16)));
    }

    public void Handshake(uint flags = NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES)
    {
        Greeting();
        Send(U32(flags));
    }

    public void Option(uint option, params byte[] payload) => Send(OptionBytes(option, payload));

    public OptionReply OptionReply()
    {
        var header = Receive(20);
        Assert.Equal(NBD_REP_MAGIC, BinaryPrimitives.ReadUInt64BigEndian(header));
        var length = BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(16));
        return new OptionReply(
            BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(8)), BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(12)), Receive((int)length));
    }

    /// <summary>Replies to one option, up to its ACK or error.</summary>
    public List<OptionReply> OptionReplies()
    {
        var replies = new List<OptionReply>();
        do
        {
            replies.Add(OptionReply());
        }
        while (replies[^1].Type is not NBD_REP_ACK and < 0x80000000);

        return replies;
    }

    /// <summary>One request; with extended headers a payload is flagged as the protocol asks.</summary>
    public void Request(ushort type, ulong offset, ulong length, ushort flags = 0, ulong cookie = 1, byte[]? payload = null)
    {
        var header = Style == NbdReplyStyle.Extended
            ? ExtendedRequestBytes(type, offset, length, (ushort)(flags | (payload is null ? 0 : NBD_CMD_FLAG_PAYLOAD_LEN)), cookie)
            : RequestBytes(type, offset, checked((uint)length), flags, cookie);
        Send([.. header, .. payload ?? []]);
    }

    /// <summary>One reply. <paramref name="readLength"/> is the data a simple reply carries, which it does not say itself.</summary>
    public Reply Reply(int readLength = 0) => Reply(_ => readLength);

    /// <summary>As above, with the length of a simple reply's data told by its cookie.</summary>
    public Reply Reply(Func<ulong, int> readLength)
    {
        var magic = BinaryPrimitives.ReadUInt32BigEndian(Receive(4));
        if (magic == NBD_SIMPLE_REPLY_MAGIC)
        {
            var rest = Receive(12);
            var error = BinaryPrimitives.ReadUInt32BigEndian(rest);
            var cookie = BinaryPrimitives.ReadUInt64BigEndian(rest.AsSpan(4));
            return new Reply(true, 0, 0, cookie, error, error == 0 && !Structured ? Receive(readLength(cookie)) : []);
        }

        var isExtended = Style == NbdReplyStyle.Extended;
        Assert.Equal(isExtended ? NBD_EXTENDED_REPLY_MAGIC : NBD_STRUCTURED_REPLY_MAGIC, magic);
        var header = Receive(isExtended ? 28 : 16);
        var type = BinaryPrimitives.ReadUInt16BigEndian(header.AsSpan(2));
        var data = Receive(
            isExtended ? checked((int)BinaryPrimitives.ReadUInt64BigEndian(header.AsSpan(20))) : (int)BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(12)));
        return new Reply(
            false, BinaryPrimitives.ReadUInt16BigEndian(header), type, BinaryPrimitives.ReadUInt64BigEndian(header.AsSpan(4)),
            type >= NBD_REPLY_TYPE_ERROR ? BinaryPrimitives.ReadUInt32BigEndian(data) : 0, data)
        {
            RequestOffset = isExtended ? BinaryPrimitives.ReadUInt64BigEndian(header.AsSpan(12)) : null,
        };
    }

    /// <summary>One request and the error value of its reply.</summary>
    public uint Error(ushort type, ulong offset, ulong length, ushort flags = 0, byte[]? payload = null)
    {
        Request(type, offset, length, flags, payload: payload);
        return Reply(type == NBD_CMD_READ ? (int)length : 0).Error;
    }

    /// <summary>READ, whatever form the reply has.</summary>
    public byte[] Read(ulong offset, int length, ulong cookie = 7)
    {
        Request(NBD_CMD_READ, offset, (uint)length, cookie: cookie);
        return DataOf(ReadReply(length), offset, length);
    }

    public Reply ReadReply(int length) => Reply(Structured ? 0 : length);

    /// <summary>The bytes that a reply to a READ stands for.</summary>
    public static byte[] DataOf(Reply reply, ulong offset, int length)
    {
        Assert.Equal(0u, reply.Error);
        if (reply.IsSimple)
        {
            return reply.Data;
        }

        Assert.Equal(NBD_REPLY_FLAG_DONE, reply.Flags);
        Assert.Equal(offset, BinaryPrimitives.ReadUInt64BigEndian(reply.Data));
        Assert.Equal(NBD_REPLY_TYPE_OFFSET_DATA, reply.Type);
        Assert.Equal(length + 8, reply.Data.Length);
        return reply.Data[8..];
    }

    /// <summary>Proves that the connection is alive and in step.</summary>
    public void AssertInStep() => AssertInStepAt(0);

    /// <summary>As above, for a device with blocks of that many bytes.</summary>
    public void AssertInStepOf(int block) => Assert.Equal(block, Read(0, block, cookie: 0xabcdef).Length);

    /// <summary>As above, where <paramref name="offset"/> is known to be readable.</summary>
    public void AssertInStepAt(ulong offset) => Assert.Equal(512, Read(offset, 512, cookie: 0xabcdef).Length);

    /// <summary>The extents of a BLOCK_STATUS chunk.</summary>
    public static (uint Context, List<(uint Length, uint State)> Extents) Extents(Reply reply)
    {
        Assert.Equal(NBD_REPLY_TYPE_BLOCK_STATUS, reply.Type);
        var extents = new List<(uint, uint)>();
        for (var at = 4; at < reply.Data.Length; at += 8)
        {
            extents.Add((BinaryPrimitives.ReadUInt32BigEndian(reply.Data.AsSpan(at)), BinaryPrimitives.ReadUInt32BigEndian(reply.Data.AsSpan(at + 4))));
        }

        return (BinaryPrimitives.ReadUInt32BigEndian(reply.Data), extents);
    }

    /// <summary>The extents of a BLOCK_STATUS_EXT chunk.</summary>
    public static (uint Context, List<(ulong Length, ulong State)> Extents) ExtendedExtents(Reply reply)
    {
        Assert.Equal(NBD_REPLY_TYPE_BLOCK_STATUS_EXT, reply.Type);
        Assert.Equal(8 + (16 * BinaryPrimitives.ReadUInt32BigEndian(reply.Data.AsSpan(4))), (uint)reply.Data.Length);
        var extents = new List<(ulong, ulong)>();
        for (var at = 8; at < reply.Data.Length; at += 16)
        {
            extents.Add((BinaryPrimitives.ReadUInt64BigEndian(reply.Data.AsSpan(at)), BinaryPrimitives.ReadUInt64BigEndian(reply.Data.AsSpan(at + 8))));
        }

        return (BinaryPrimitives.ReadUInt32BigEndian(reply.Data), extents);
    }

    public void Dispose() => _socket.Dispose();

    public static byte[] OptionBytes(uint option, byte[] payload) => OptionBytes(option, (uint)payload.Length, payload);

    public static byte[] OptionBytes(uint option, uint announced, byte[] payload) =>
        [.. U64(IHAVEOPT), .. U32(option), .. U32(announced), .. payload];

    public static byte[] GoPayload(string name, params ushort[] infos) =>
        [.. Text(name), .. U16((ushort)infos.Length), .. infos.SelectMany(U16)];

    public static byte[] MetaPayload(string name, params string[] queries) =>
        [.. Text(name), .. U32((uint)queries.Length), .. queries.SelectMany(Text)];

    public static byte[] RequestBytes(ushort type, ulong offset, uint length, ushort flags = 0, ulong cookie = 1) =>
        [.. U32(NBD_REQUEST_MAGIC), .. U16(flags), .. U16(type), .. U64(cookie), .. U64(offset), .. U32(length)];

    public static byte[] ExtendedRequestBytes(ushort type, ulong offset, ulong length, ushort flags = 0, ulong cookie = 1) =>
        [.. U32(NBD_EXTENDED_REQUEST_MAGIC), .. U16(flags), .. U16(type), .. U64(cookie), .. U64(offset), .. U64(length)];

    public static byte[] Text(string text) => [.. U32((uint)Encoding.UTF8.GetByteCount(text)), .. Encoding.UTF8.GetBytes(text)];

    public static byte[] U16(ushort value)
    {
        var bytes = new byte[2];
        BinaryPrimitives.WriteUInt16BigEndian(bytes, value);
        return bytes;
    }

    public static byte[] U32(uint value)
    {
        var bytes = new byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, value);
        return bytes;
    }

    public static byte[] U64(ulong value)
    {
        var bytes = new byte[8];
        BinaryPrimitives.WriteUInt64BigEndian(bytes, value);
        return bytes;
    }
}
