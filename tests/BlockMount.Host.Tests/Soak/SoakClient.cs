using System.Net.Sockets;
using BlockMount.Nbd;
using BlockMount.Nbd.Tests.Support;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Host.Tests.Soak;

/// <summary>
/// One client that loads a region of its own, and reads one that all share, with many requests in flight, checks every byte that comes back,
/// and now and then ends its connection in the middle of everything.
/// </summary>
/// <param name="socket">The server's.</param>
/// <param name="start">Offset of the region on the disk.</param>
/// <param name="region">What the region holds.</param>
/// <param name="shared">What the disk begins with and nobody changes.</param>
/// <param name="seed">Of everything random.</param>
/// <param name="deaths">
/// Held from the end of one connection to the next. The server admits as many clients as there are, so a client is admitted again only when the
/// one that died before it is gone with all its requests; with two dead at the same time that could be the other one.
/// </param>
internal sealed class SoakClient(string socket, int start, SectorModel region, byte[] shared, int seed, Lock deaths) : IDisposable
{
    private const int MostInFlight = 16;
    private readonly Random _random = new(seed);
    private readonly Dictionary<ulong, Request> _inFlight = [];
    private readonly Dictionary<ulong, byte[]> _chunks = [];
    private readonly bool _structured = seed % 2 == 0;
    private RawClient _client = null!;
    private ulong _cookie;

    public int Requests { get; private set; }

    public int Deaths { get; private set; }

    public void Dispose() => _client?.Dispose();

    /// <summary>Runs until told to stop; in the end every request is answered and the whole region is right.</summary>
    /// <param name="deathsPerThousand">How often it dies, a thousand steps.</param>
    /// <param name="everybody">
    /// All clients, as many as the server has places for: while all have theirs, who comes back gets in only when the server is done with what it
    /// asked for before, which otherwise could still be carried out later.
    /// </param>
    /// <param name="stop">Ends it.</param>
    public void Run(double deathsPerThousand, Barrier everybody, CancellationToken stop)
    {
        _client = Connect();
        everybody.SignalAndWait(TimeSpan.FromSeconds(60), CancellationToken.None);
        while (!stop.IsCancellationRequested)
        {
            if (_random.NextDouble() * 1000 < deathsPerThousand)
            {
                DieAndReturn();
            }
            else if (_inFlight.Count == MostInFlight || !TrySend())
            {
                TakeReply();
            }
        }

        while (_inFlight.Count > 0)
        {
            TakeReply();
        }

        CheckRegion();
        Assert.Equal(NBD_SUCCESS, _client.Error(NBD_CMD_FLUSH, 0, 0));
        everybody.SignalAndWait(TimeSpan.FromSeconds(60), CancellationToken.None);
        _client.Request(NBD_CMD_DISC, 0, 0);
        Assert.True(_client.IsClosed(), "the server closes after a disconnect");
    }

    private RawClient Connect()
    {
        var deadline = Environment.TickCount64 + 60_000;
        while (Environment.TickCount64 < deadline)
        {
            var client = new RawClient(socket);
            client.Handshake();
            if (_structured)
            {
                client.Option(NBD_OPT_STRUCTURED_REPLY);
                Assert.Equal(NBD_REP_ACK, client.OptionReply().Type);
                client.Style = NbdReplyStyle.Structured;
            }

            // Fewer than a server takes from one client.
            for (var tries = 0; tries < 50; tries++)
            {
                client.Option(NBD_OPT_GO, RawClient.GoPayload(""));
                var last = client.OptionReplies()[^1].Type;
                if (last == NBD_REP_ACK)
                {
                    return client;
                }

                Assert.Equal(NBD_REP_ERR_POLICY, last);
                Thread.Sleep(10);
            }

            client.Dispose();
        }

        throw new TimeoutException("the place of a dead client was not free within 60 s");
    }

    private bool TrySend()
    {
        var kind = _random.Next(100);
        var length = SectorModel.Sector * (_random.Next(12) == 0 ? _random.Next(1, 800) : _random.Next(1, 60));
        if (kind < 12)
        {
            var at = _random.Next(shared.Length - length + 1);
            Send(new Request(NBD_CMD_READ, at, length, [], IsShared: true), 0);
            return true;
        }

        if (kind < 16)
        {
            Send(new Request(NBD_CMD_FLUSH, 0, 0, [], IsShared: true), 0);
            return true;
        }

        var offset = SectorModel.Sector * _random.Next((region.Content.Length - length) / SectorModel.Sector);
        var fua = _random.Next(10) == 0 ? NBD_CMD_FLAG_FUA : (ushort)0;
        if (_inFlight.Values.Any(r => !r.IsShared && r.Offset < offset + length && offset < r.Offset + r.Length))
        {
            return false;
        }

        // What nobody has looked at since it became uncertain is read first.
        if (kind < 50 || region.IsOpen(offset, length))
        {
            Send(new Request(NBD_CMD_READ, offset, length, [], IsShared: false), 0);
        }
        else if (kind < 82)
        {
            Send(new Request(NBD_CMD_WRITE, offset, length, RandomBytes(length), IsShared: false), fua);
        }
        else if (kind < 93)
        {
            Send(new Request(NBD_CMD_WRITE_ZEROES, offset, length, [], IsShared: false), (ushort)(fua | (kind % 2 == 0 ? NBD_CMD_FLAG_NO_HOLE : 0)));
        }
        else
        {
            Send(new Request(NBD_CMD_TRIM, offset, length, [], IsShared: false), fua);
        }

        return true;
    }

    private void Send(Request request, ushort flags)
    {
        _inFlight.Add(++_cookie, request);
        Requests++;
        _client.Request(request.Type, DiskOffset(request), (uint)request.Length, (ushort)(flags | WholeRead(request.Type)), _cookie, request.Data);
    }

    private void TakeReply()
    {
        var reply = _client.Reply(cookie => _inFlight[cookie].Type == NBD_CMD_READ ? _inFlight[cookie].Length : 0);
        Assert.True(_inFlight.TryGetValue(reply.Cookie, out var request), $"a reply has the cookie {reply.Cookie}, which is not in flight");
        Assert.True(reply.Error == NBD_SUCCESS, $"{request} failed with {reply.Error}");
        if (request.Type == NBD_CMD_READ)
        {
            // What no chunk covers stays what no test writes on purpose.
            _chunks.TryAdd(reply.Cookie, Enumerable.Repeat((byte)0xEE, request.Length).ToArray());
            reply.PutInto(_chunks[reply.Cookie], DiskOffset(request));
        }

        if (!reply.IsLast)
        {
            return;
        }

        _inFlight.Remove(reply.Cookie);
        switch (request.Type)
        {
            case NBD_CMD_READ:
                _chunks.Remove(reply.Cookie, out var data);
                Check(request, data);
                break;
            case NBD_CMD_WRITE:
                region.Set(request.Offset, request.Data);
                break;
            case NBD_CMD_WRITE_ZEROES:
                region.Set(request.Offset, new byte[request.Length]);
                break;
            case NBD_CMD_TRIM:
                region.AllowZeros(request.Offset, request.Length);
                break;
        }
    }

    private void Check(Request request, ReadOnlySpan<byte> found)
    {
        if (request.IsShared)
        {
            var same = found.CommonPrefixLength(shared.AsSpan(request.Offset, request.Length));
            Assert.True(
                same == request.Length,
                $"the shared byte at {request.Offset + same} is {found[Math.Min(same, found.Length - 1)]} and has never been changed ({request})");
        }
        else
        {
            var wrong = region.Check(request.Offset, found);
            if (wrong >= 0)
            {
                Assert.Fail(
                    $"the sector at {start + wrong} does not hold what was written there ({request}, after {Requests} requests and {Deaths} deaths): "
                    + $"found {Shown(found[(wrong - request.Offset)..])}, expected {Shown(region.Content[wrong..])}");
            }
        }
    }

    private static string Shown(ReadOnlySpan<byte> sector) => Convert.ToHexString(sector[..Math.Min(16, sector.Length)]);

    /// <summary>Ends the connection with requests in flight, and looks whether each of them happened, in whole sectors, or did not.</summary>
    private void DieAndReturn()
    {
        lock (deaths)
        {
            Deaths++;
            Die();
            foreach (var lost in _inFlight.Values.Where(static r => !r.IsShared && r.Type != NBD_CMD_READ))
            {
                region.Allow(lost.Offset, lost.Type == NBD_CMD_WRITE ? lost.Data : new byte[lost.Length]);
            }

            _inFlight.Clear();
            _chunks.Clear();
            _client.Dispose();
            _client = Connect();
            CheckRegion();
        }
    }

    private void Die()
    {
        switch (_random.Next(5))
        {
            case 0:
                // A write without its end must not happen, so the model does not hear of it.
                _client.Send([.. RawClient.RequestBytes(NBD_CMD_WRITE, (ulong)start, 65536), .. RandomBytes(_random.Next(65536))]);
                break;
            case 1:
                _client.Send(RawClient.RequestBytes(NBD_CMD_WRITE_ZEROES, (ulong)start, 65536).AsSpan(0, _random.Next(1, RequestHeaderSize)));
                break;
            case 2:
                _client.Socket.Shutdown(SocketShutdown.Both);
                break;
            case 3:
                _client.Send(new byte[100]);
                break;
        }
    }

    private void CheckRegion()
    {
        const int piece = 256 << 10;
        for (var at = 0; at < region.Content.Length; at += piece)
        {
            var request = new Request(NBD_CMD_READ, at, Math.Min(piece, region.Content.Length - at), [], IsShared: false);
            Send(request, 0);
            while (_inFlight.Count > 0)
            {
                TakeReply();
            }
        }
    }

    /// <summary>Some structured reads come in one chunk and the others as it suits the server.</summary>
    private ushort WholeRead(ushort type) => _structured && type == NBD_CMD_READ && _random.Next(3) == 0 ? NBD_CMD_FLAG_DF : (ushort)0;

    private ulong DiskOffset(Request request) => (ulong)(request.IsShared ? request.Offset : start + request.Offset);

    private byte[] RandomBytes(int length)
    {
        var bytes = new byte[length];
        _random.NextBytes(bytes);
        return bytes;
    }

    private sealed record Request(ushort Type, int Offset, int Length, byte[] Data, bool IsShared)
    {
        public override string ToString() => $"command {Type} of {Length} bytes at {Offset}";
    }
}
