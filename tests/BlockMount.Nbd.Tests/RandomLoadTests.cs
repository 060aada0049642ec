using BlockMount.Nbd.Tests.Support;
using BlockMount.TestSupport;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests;

/// <summary>Four clients with many requests in flight, each in a region of its own, against a model of that region.</summary>
public sealed class RandomLoadTests
{
    private const int Region = 2 << 20;
    private const int Block = 4096;

    [Theory]
    [InlineData(false, NbdReplyStyle.Structured, 1)]
    [InlineData(true, NbdReplyStyle.Structured, 2)]
    [InlineData(true, NbdReplyStyle.Simple, 3)]
    [InlineData(true, NbdReplyStyle.Extended, 4)]
    [InlineData(false, NbdReplyStyle.Extended, 5)]
    public async Task Every_read_returns_what_was_last_written_there(bool slow, NbdReplyStyle style, int seed)
    {
        MemoryDevice device = slow ? new SlowDevice(4 * Region, seed) : new MemoryDevice(4 * Region);
        await using var server = new TestServer(device);
        var clients = Enumerable.Range(0, 4).Select(i => Task.Factory.StartNew(
            () => new Worker(server.Go(style), (ulong)i * Region, (seed * 10) + i).Run(1500),
            CancellationToken.None,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default));
        var models = await Task.WhenAll(clients);
        for (var i = 0; i < 4; i++)
        {
            Assert.True(device.Bytes.AsSpan(i * Region, Region).SequenceEqual(models[i]), $"region {i}");
        }
    }

    /// <summary>Keeps up to 32 requests in flight that do not overlap each other, and checks each reply.</summary>
    private sealed class Worker(RawClient client, ulong start, int seed)
    {
        private readonly Random _random = new(seed);
        private readonly byte[] _model = new byte[Region];
        private readonly bool[] _busy = new bool[Region / Block];
        private readonly Dictionary<ulong, (ushort Type, int Offset, int Length, byte[] Data)> _inFlight = [];

        public byte[] Run(int requests)
        {
            using (client)
            {
                for (ulong cookie = 0; cookie < (ulong)requests; cookie++)
                {
                    if (_inFlight.Count == 32 || !TrySend(cookie))
                    {
                        TakeReply();
                    }
                }

                while (_inFlight.Count > 0)
                {
                    TakeReply();
                }

                client.Request(NBD_CMD_DISC, 0, 0);
                Assert.True(client.IsClosed());
                return _model;
            }
        }

        private bool TrySend(ulong cookie)
        {
            // Mostly small, sometimes larger than the server's buffers.
            var length = _random.Next(20) == 0 ? _random.Next(200_000, 500_000) : _random.Next(1, 20_000);
            var offset = _random.Next(Region - length);
            var blocks = _busy.AsSpan(offset / Block, ((offset + length - 1) / Block) - (offset / Block) + 1);
            if (blocks.Contains(true))
            {
                return false;
            }

            var type = ((ushort[])[NBD_CMD_READ, NBD_CMD_READ, NBD_CMD_WRITE, NBD_CMD_WRITE, NBD_CMD_WRITE_ZEROES, NBD_CMD_FLUSH])[_random.Next(6)];
            var data = new byte[length];

            if (type is NBD_CMD_WRITE or NBD_CMD_READ)
            {
                // For a read they are what must be overwritten.
                _random.NextBytes(data);
            }

            blocks.Fill(true);
            _inFlight.Add(cookie, (type, offset, length, data));
            var flags = type != NBD_CMD_READ && _random.Next(10) == 0 ? NBD_CMD_FLAG_FUA : (ushort)0;
            client.Request(type, start + (ulong)offset, (uint)length, flags, cookie, type == NBD_CMD_WRITE ? data : null);
            return true;
        }

        private void TakeReply()
        {
            // A simple reply does not say how long its data is: its cookie is read first, as a client would.
            var reply = client.Reply(c => _inFlight[c].Type == NBD_CMD_READ ? _inFlight[c].Length : 0);
            var (type, offset, length, data) = _inFlight[reply.Cookie];
            Assert.Equal(0u, reply.Error);
            if (type == NBD_CMD_READ)
            {
                reply.PutInto(data, start + (ulong)offset);
            }

            if (!reply.IsLast)
            {
                return;
            }

            _inFlight.Remove(reply.Cookie);
            _busy.AsSpan(offset / Block, ((offset + length - 1) / Block) - (offset / Block) + 1).Clear();
            var area = _model.AsSpan(offset, length);
            if (type == NBD_CMD_READ)
            {
                Assert.True(data.AsSpan().SequenceEqual(area), $"{length} bytes at {offset}");
            }
            else if (type != NBD_CMD_FLUSH)
            {
                data.CopyTo(area);
            }
        }
    }
}
