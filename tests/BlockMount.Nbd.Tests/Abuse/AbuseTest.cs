using System.Buffers.Binary;
using System.Text;
using BlockMount.Core.Devices;
using BlockMount.Nbd.Tests.Support;
using BlockMount.TestSupport;
using Microsoft.Extensions.Logging;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests.Abuse;

/// <summary>
/// A server with a disk of known content, and a second client that was connected before the abuse began. At the end of every test that client
/// still reads the right bytes, and the server has logged no error. Tests change only what lies in front of <see cref="WitnessSize"/> bytes
/// at the end.
/// </summary>
public abstract class AbuseTest : IAsyncDisposable
{
    private protected const int Size = 1 << 20;
    private protected const int WitnessSize = 64 << 10;

    private readonly KeptLog _log = new(LogLevel.Warning);
    private TestServer? _server;
    private RawClient? _witness;
    private BlockDevice? _device;
    private byte[] _content = [];

    /// <summary>What the witness expects at the end; null once the server was told to stop.</summary>
    private byte[]? _witnessed = [];

    private protected TestServer Server => _server ?? throw new InvalidOperationException("Serve comes first.");

    /// <summary>Warnings and errors that the server logged.</summary>
    private protected IReadOnlyCollection<string> Logged => _log.Lines;

    /// <summary>Whether devices fail in this test, which the server rightly reports.</summary>
    private protected bool DeviceFails { get; set; }

    /// <summary>Starts the server and connects the witness.</summary>
    /// <param name="device">What is served, disposed of at the end; null for an array.</param>
    /// <param name="options">Limits and deadlines; null for the defaults.</param>
    /// <param name="content">What the device holds. A <see cref="MemoryDevice"/> is filled with random bytes; null means zeros for any other.</param>
    private protected TestServer Serve(BlockDevice? device = null, NbdServerOptions? options = null, byte[]? content = null)
    {
        _device = device ?? new MemoryDevice(Size);
        if (_device is MemoryDevice memory)
        {
            new Random(75).NextBytes(memory.Bytes);
            content = memory.Bytes.ToArray();
        }

        _content = content ?? new byte[WitnessSize];
        _witnessed = _content[^WitnessSize..];
        _server = new TestServer(
            [
                new NbdExport("disk", _device) { Trim = true, AllocationDepth = true, Description = "a disk" },
                new NbdExport("other", new MemoryDevice(4096)),
            ],
            options,
            _log);
        _witness = _server.Go();
        return _server;
    }

    /// <summary>The server was stopped by the test: the witness is sent away in good order instead of being served.</summary>
    private protected void WitnessIsSentAway() => _witnessed = null;

    public async ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        Assert.True(_server is not null, "a test of abuse has a server and a witness");
        try
        {
            using (_witness)
            {
                if (_witnessed is null)
                {
                    Assert.True(_witness!.IsClosed(), "the server has stopped");
                }
                else
                {
                    Assert.Equal(_witnessed, _witness!.Read((ulong)(_device!.Length - WitnessSize), WitnessSize));
                }
            }

            Assert.True(DeviceFails || Logged.Count == 0, string.Join('\n', Logged));
        }
        finally
        {
            await _server.DisposeAsync();
            await _device!.DisposeAsync();
        }
    }

    /// <summary>The connection is alive and in step, and serves the right bytes.</summary>
    private protected void AssertAlive(RawClient client)
    {
        client.Request(NBD_CMD_READ, 512, 512, cookie: 0x0102030405060708);
        var reply = client.ReadReply(512);
        Assert.Equal(0x0102030405060708ul, reply.Cookie);
        Assert.Equal((_device as MemoryDevice)?.Bytes[512..1024] ?? _content[512..1024], RawClient.DataOf(reply, 512, 512));
    }

    /// <summary>The handshake is alive and in step: it lists the exports.</summary>
    private protected static void AssertNegotiates(RawClient client)
    {
        client.Option(NBD_OPT_LIST);
        Assert.Equal(
            [(NBD_OPT_LIST, NBD_REP_SERVER), (NBD_OPT_LIST, NBD_REP_SERVER), (NBD_OPT_LIST, NBD_REP_ACK)],
            client.OptionReplies().Select(r => (r.Option, r.Type)));
    }

    /// <summary>The last option is refused with that type and a text fit to be shown, and the handshake goes on.</summary>
    private protected static void AssertOptionRefused(RawClient client, uint option, uint type)
    {
        var reply = client.OptionReply();
        Assert.Equal((option, type), (reply.Option, reply.Type));
        AssertText(reply.Data);
        AssertNegotiates(client);
    }

    /// <summary>A reply that refuses: its form, its cookie, its value and, under structured replies, a text.</summary>
    private protected static void AssertRefusal(Reply reply, bool structured, ulong cookie, uint error)
    {
        Assert.Equal((!structured, cookie, error), (reply.IsSimple, reply.Cookie, reply.Error));
        if (structured)
        {
            Assert.Equal((NBD_REPLY_TYPE_ERROR, NBD_REPLY_FLAG_DONE), (reply.Type, reply.Flags));
            Assert.Equal(reply.Data.Length - 6, (reply.Data[4] << 8) | reply.Data[5]);
            AssertText(reply.Data[6..]);
        }
    }

    /// <summary>A reply to a READ that the device failed at: as a refusal, and under structured replies with the offset of the first byte that is missing.</summary>
    private protected static void AssertReadFailed(Reply reply, bool structured, ulong cookie, ulong offset)
    {
        Assert.Equal((!structured, cookie, NBD_EIO), (reply.IsSimple, reply.Cookie, reply.Error));
        if (structured)
        {
            Assert.Equal((NBD_REPLY_TYPE_ERROR_OFFSET, NBD_REPLY_FLAG_DONE), (reply.Type, reply.Flags));
            Assert.Equal(reply.Data.Length - 14, (reply.Data[4] << 8) | reply.Data[5]);
            AssertText(reply.Data[6..^8]);
            Assert.Equal(offset, BinaryPrimitives.ReadUInt64BigEndian(reply.Data.AsSpan(reply.Data.Length - 8)));
        }
    }

    /// <summary>One request is refused under simple and under structured replies; the connection goes on and nothing is changed.</summary>
    private protected void AssertRequestRefused(ushort type, ulong offset, uint length, ushort flags, uint error) =>
        AssertRequestRefused(type, offset, length, flags, error, error);

    /// <summary>As above, with a value for each of the two.</summary>
    private protected void AssertRequestRefused(ushort type, ulong offset, uint length, ushort flags, uint structuredError, uint simpleError)
    {
        foreach (var structured in (bool[])[true, false])
        {
            using var client = structured ? Server.Go(contexts: "base:allocation") : Server.Go(structured: false);
            client.Request(type, offset, length, flags, cookie: 77, type == NBD_CMD_WRITE ? Payload((int)length) : null);
            AssertRefusal(client.Reply(), structured, 77, structured ? structuredError : simpleError);
            AssertAlive(client);
        }

        AssertUnchanged();
    }

    /// <summary>Bytes that the disk does not begin with.</summary>
    private protected static byte[] Payload(int length, byte value = 0xee) => [.. Enumerable.Repeat(value, length)];

    private protected void AssertUnchanged() =>
        Assert.True(((MemoryDevice)_device!).Bytes.AsSpan().SequenceEqual(_content), "the disk has changed");

    /// <summary>Only connections of the witness and <paramref name="others"/> are left.</summary>
    private protected Task OnlyWitnessLeftAsync(int others = 0) =>
        TestServer.UntilAsync(() => Server.Server.OpenConnections == 1 + others, $"the end of all but {1 + others} connections");

    private static void AssertText(byte[] utf8)
    {
        var text = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true).GetString(utf8);
        Assert.InRange(utf8.Length, 1, MaxStringLength);
        Assert.DoesNotContain(text, char.IsControl);
    }
}
