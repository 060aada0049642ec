using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using BlockMount.Nbd.Tests.Support;
using BlockMount.TestSupport;
using Microsoft.Extensions.Logging;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests;

/// <summary>Bytes that are no TLS, or were TLS before somebody touched them.</summary>
public sealed class HostileTlsTests
{
    private const int Size = 1 << 20;

    [Fact]
    public Task Mutated_handshakes_end_their_connection_and_nothing_else() => FreshSeeds.RunAsync(async seed =>
    {
        var log = new ErrorLog();
        await using var server = new TlsServer(new MemoryDevice(Size), log: log);
        var hello = Hello(server);
        var random = new Random(seed);
        for (var round = 0; round < 150; round++)
        {
            var bytes = hello.ToArray();
            for (var i = random.Next(1, 8); i > 0; i--)
            {
                bytes[random.Next(bytes.Length)] = (byte)random.Next(256);
            }

            using var client = server.Connect();
            client.Option(NBD_OPT_STARTTLS);
            Assert.Equal(NBD_REP_ACK, client.OptionReply().Type);
            client.Send(bytes.AsSpan(0, round % 3 == 0 ? random.Next(1, bytes.Length) : bytes.Length));
            client.Socket.Shutdown(SocketShutdown.Send);
        }

        await TestServer.UntilAsync(() => server.Server.OpenConnections == 0, "the end of every connection");
        Assert.True(log.Errors.Count == 0, string.Join("\n", log.Errors));
        using var good = server.ConnectTls();
        good.Option(NBD_OPT_GO, RawClient.GoPayload("disk"));
        Assert.Equal(NBD_REP_ACK, good.OptionReplies()[^1].Type);
        good.AssertInStep();
    });

    [Theory]
    [InlineData(SslProtocols.Tls12)]
    [InlineData(SslProtocols.Tls13)]
    public async Task A_write_of_which_one_bit_was_changed_on_the_way_is_not_carried_out(SslProtocols protocol)
    {
        var log = new ErrorLog();
        var device = new MemoryDevice(Size);
        await using var server = new TlsServer(device, log: log);
        for (var at = 0; at < 60; at += 7)
        {
            using var client = server.Connect();
            client.Option(NBD_OPT_STARTTLS);
            Assert.Equal(NBD_REP_ACK, client.OptionReply().Type);
            FlippingStream? network = null;
            client.StartTls(server.ClientOptions(protocol), stream => network = new FlippingStream(stream));
            client.Option(NBD_OPT_GO, RawClient.GoPayload("disk"));
            Assert.Equal(NBD_REP_ACK, client.OptionReplies()[^1].Type);
            network!.Position = at;
            client.Request(NBD_CMD_WRITE, 0, 4096, payload: Enumerable.Repeat((byte)7, 4096).ToArray());
            client.Socket.Shutdown(SocketShutdown.Send);
            await TestServer.UntilAsync(() => server.Server.OpenConnections == 0, $"the end of the connection with byte {at} changed");
        }

        Assert.True(device.Bytes.AsSpan().IndexOfAnyExcept((byte)0) < 0, "nothing was written");
        Assert.True(log.Errors.Count == 0, string.Join("\n", log.Errors));
    }

    /// <summary>The first message of a client.</summary>
    private static byte[] Hello(TlsServer server)
    {
        using var first = new FlippingStream(new MemoryStream());
        using var tls = new SslStream(first);
        Assert.ThrowsAny<Exception>(() => tls.AuthenticateAsClient(server.ClientOptions()));
        return first.Written;
    }

    /// <summary>Flips a bit of one byte of the next write.</summary>
    private sealed class FlippingStream(Stream inner) : Stream
    {
        private readonly MemoryStream _written = new();

        public byte[] Written => _written.ToArray();

        public override bool CanRead => true;

        public override bool CanWrite => true;

        public override bool CanSeek => false;

        public override long Length => throw new NotSupportedException();

        /// <summary>Which byte; negative for none.</summary>
        public override long Position { get; set; } = -1;

        public override int Read(byte[] buffer, int offset, int count) => inner.Read(buffer, offset, count);

        public override void Write(byte[] buffer, int offset, int count)
        {
            var bytes = buffer.AsSpan(offset, count).ToArray();
            if (Position >= 0)
            {
                bytes[Position] ^= 4;
                Position = -1;
            }

            _written.Write(bytes);
            if (inner is not MemoryStream)
            {
                inner.Write(bytes);
            }
        }

        public override void Flush() => inner.Flush();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();
    }

    /// <summary>What the server calls unexpected.</summary>
    private sealed class ErrorLog : ILogger<NbdServer>
    {
        private readonly List<string> _errors = [];

        public List<string> Errors
        {
            get
            {
                lock (_errors)
                {
                    return [.. _errors];
                }
            }
        }

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Error;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (logLevel >= LogLevel.Error)
            {
                lock (_errors)
                {
                    _errors.Add($"{formatter(state, exception)} {exception}");
                }
            }
        }
    }
}
