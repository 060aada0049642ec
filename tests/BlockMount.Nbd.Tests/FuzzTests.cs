using System.Net.Sockets;
using BlockMount.Nbd.Tests.Support;
using Microsoft.Extensions.Logging;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests;

public sealed class FuzzTests
{
    [Theory]
    [InlineData(1, false)]
    [InlineData(2, false)]
    [InlineData(3, false)]
    [InlineData(4, true)]
    [InlineData(5, true)]
    [InlineData(6, true)]
    public async Task Damaged_conversations_harm_neither_the_server_nor_other_clients(int seed, bool extended)
    {
        var log = new KeptLog(LogLevel.Warning);
        await using var server = new TestServer(new SlowDevice(4 << 20, seed), log: log);
        using var witness = server.Go();
        var random = new Random(seed);
        for (var i = 0; i < 300; i++)
        {
            using var client = server.Connect();
            TrySend(client, Damage(Conversation(random, extended), random));
            if (i % 2 == 0)
            {
                client.Socket.Shutdown(SocketShutdown.Send);
                client.Socket.ReceiveTimeout = 500;
                ReadSome(client);
            }
        }

        witness.AssertInStep();
        await TestServer.UntilAsync(() => server.Server.OpenConnections == 1, "the end of all damaged connections");
        Assert.Empty(log.Lines);
        Assert.Null(server.Server.Exports[0].WriteRefusal);
    }

    private static byte[] Conversation(Random random, bool extended)
    {
        var bytes = new List<byte>(RawClient.U32(NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES));
        bytes.AddRange(RawClient.OptionBytes(extended ? NBD_OPT_EXTENDED_HEADERS : NBD_OPT_STRUCTURED_REPLY, []));
        bytes.AddRange(RawClient.OptionBytes(NBD_OPT_LIST_META_CONTEXT, RawClient.MetaPayload("disk")));
        bytes.AddRange(RawClient.OptionBytes(NBD_OPT_SET_META_CONTEXT, RawClient.MetaPayload("disk", "base:allocation", "qemu:allocation-depth")));
        bytes.AddRange(RawClient.OptionBytes(NBD_OPT_INFO, RawClient.GoPayload("disk", NBD_INFO_NAME, NBD_INFO_DESCRIPTION)));
        bytes.AddRange(RawClient.OptionBytes(NBD_OPT_GO, RawClient.GoPayload("disk")));
        for (var i = 0; i < 30; i++)
        {
            if (extended)
            {
                bytes.AddRange(ExtendedRequest(random));
                continue;
            }

            var type = (ushort)random.Next(0, 9);
            var length = random.Next(10) == 0 ? random.Next(400_000) : random.Next(9000);
            bytes.AddRange(RawClient.RequestBytes(type, (ulong)random.Next(4 << 20), (uint)length, (ushort)(random.Next(3) == 0 ? random.Next(32) : 0)));
            if (type == NBD_CMD_WRITE)
            {
                bytes.AddRange(new byte[length]);
            }
        }

        return [.. bytes];
    }

    private static byte[] ExtendedRequest(Random random)
    {
        var type = (ushort)random.Next(0, 9);
        ulong length = random.Next(10) switch
        {
            0 => (ulong)random.Next(400_000),
            1 => (ulong)random.NextInt64(),
            _ => (ulong)random.Next(9000),
        };
        var flags = (ushort)(random.Next(3) == 0 ? random.Next(32) : 0);
        byte[] payload = [];
        if (type == NBD_CMD_WRITE || random.Next(8) == 0)
        {
            payload = type == NBD_CMD_BLOCK_STATUS
                ? [.. RawClient.U64(length), .. RawClient.U32((uint)random.Next(4)), .. random.Next(2) == 0 ? RawClient.U32(2) : []]
                : new byte[Math.Min(length, 400_000)];
            length = (ulong)payload.Length;
            flags |= NBD_CMD_FLAG_PAYLOAD_LEN;
        }

        return [.. RawClient.ExtendedRequestBytes(type, (ulong)random.Next(4 << 20), length, flags), .. payload];
    }

    /// <summary>Changes, removes, repeats or cuts off a few bytes, more often near the beginning, where the structure is.</summary>
    private static byte[] Damage(byte[] bytes, Random random)
    {
        var damaged = bytes.ToList();
        for (var i = random.Next(1, 4); i > 0; i--)
        {
            var at = random.Next(Math.Min(damaged.Count - 8, random.Next(2) == 0 ? 300 : int.MaxValue));
            switch (random.Next(5))
            {
                case 0:
                    damaged[at] = (byte)random.Next(256);
                    break;
                case 1:
                    damaged[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 2:
                    damaged.RemoveRange(at, random.Next(1, 8));
                    break;
                case 3:
                    damaged.InsertRange(at, damaged.GetRange(at, random.Next(1, 8)));
                    break;
                default:
                    damaged.RemoveRange(at + 8, damaged.Count - at - 8);
                    break;
            }
        }

        return [.. damaged];
    }

    private static void TrySend(RawClient client, byte[] bytes)
    {
        client.Socket.SendTimeout = 500;
        try
        {
            client.Send(bytes);
        }
        catch (SocketException)
        {
            // Closed by the server, or it waits for us to read: both are its right.
        }
    }

    private static void ReadSome(RawClient client)
    {
        var buffer = new byte[65536];
        try
        {
            while (client.Socket.Receive(buffer) > 0)
            {
            }
        }
        catch (SocketException)
        {
            // Reset, or nothing more to come.
        }
    }
}
