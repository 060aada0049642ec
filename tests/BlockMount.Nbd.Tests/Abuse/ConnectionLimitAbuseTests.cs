using BlockMount.Nbd.Tests.Support;
using BlockMount.TestSupport;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests.Abuse;

/// <summary>Clients in masses, and clients that would make the server hold much memory; alone, since memory belongs to the whole process.</summary>
[Collection(typeof(AloneCollection))]
public sealed class ConnectionLimitAbuseTests : AbuseTest
{
    [Fact]
    [Row(36)]
    public void Two_hundred_idle_connections_do_not_keep_a_client_out()
    {
        Serve(options: new NbdServerOptions { MaxConnections = 8, MaxHandshakes = 16 });
        var idle = Enumerable.Range(0, 200).Select(_ => Server.Connect()).ToList();
        using (var client = Server.Go())
        {
            AssertAlive(client);
        }

        Assert.True(Server.Server.OpenConnections <= 16 + 8, $"{Server.Server.OpenConnections} connections are held");

        // The oldest made room; it may have seen the greeting.
        idle[0].Socket.ReceiveTimeout = 5000;
        Assert.True(idle[0].IsClosed() || (idle[0].Receive(17).Length == 17 && idle[0].IsClosed()));
        idle.ForEach(i => i.Dispose());
    }

    [Fact]
    [Row(36)]
    public async Task A_client_over_the_limit_is_told_so_and_served_when_another_leaves()
    {
        Serve(options: new NbdServerOptions { MaxConnections = 2 });
        var first = Server.Go();
        using var second = Server.Connect();
        second.Handshake();
        second.Option(NBD_OPT_GO, RawClient.GoPayload("disk"));
        AssertOptionRefused(second, NBD_OPT_GO, NBD_REP_ERR_POLICY);
        first.Dispose();
        await OnlyWitnessLeftAsync(others: 1);
        second.Option(NBD_OPT_GO, RawClient.GoPayload("disk"));
        Assert.Equal(NBD_REP_ACK, second.OptionReplies()[^1].Type);
        AssertAlive(second);
    }

    [Fact]
    [Row(36)]
    public void Forty_silent_newcomers_do_not_push_out_anyone_past_the_handshake()
    {
        Serve(options: new NbdServerOptions { MaxHandshakes = 4 });
        using var client = Server.Go();
        var idle = Enumerable.Range(0, 40).Select(_ => Server.Connect()).ToList();
        AssertAlive(client);
        idle.ForEach(i => i.Dispose());
    }

    [Theory]
    [Row(10, 43, 44, 46)]
    [InlineData(NBD_CMD_WRITE, uint.MaxValue)]
    [InlineData(NBD_CMD_WRITE, (64u << 20) + 1)]
    [InlineData(NBD_CMD_READ, uint.MaxValue)]
    [InlineData(NBD_CMD_READ, 33u << 20)]
    public void What_is_refused_for_its_length_costs_no_memory(ushort type, uint length)
    {
        Serve();
        var before = GC.GetTotalAllocatedBytes(precise: true);
        for (var i = 0; i < 20; i++)
        {
            using var client = Server.Go();
            client.Request(type, 0, length, cookie: 6);
            if (type == NBD_CMD_READ)
            {
                AssertRefusal(client.Reply(), structured: true, 6, NBD_EINVAL);
            }
            else
            {
                Assert.True(client.IsClosed());
            }

            using var negotiating = Server.Connect();
            negotiating.Handshake();
            negotiating.Send(RawClient.OptionBytes(99, length, []));
            Assert.True(negotiating.IsClosed());
        }

        Assert.InRange(GC.GetTotalAllocatedBytes(precise: true) - before, 0, 16 << 20);
    }

    [Fact]
    [Row(42)]
    public async Task Forty_payloads_of_32_MiB_that_never_come_hold_little_memory_and_end()
    {
        Serve(new MemoryDevice(64 << 20), new NbdServerOptions { ProgressTimeout = TimeSpan.FromSeconds(2) });
        GC.Collect();
        var before = Environment.WorkingSet;
        var stalled = new List<RawClient>();
        for (var i = 0; i < 40; i++)
        {
            stalled.Add(Server.Go());
            stalled[^1].Request(NBD_CMD_WRITE, 0, MaxPayload, payload: Payload(100));
        }

        await Task.Delay(500);
        Assert.InRange(Environment.WorkingSet - before, long.MinValue, 200L << 20);
        using (var client = Server.Go())
        {
            AssertAlive(client);
        }

        Assert.All(stalled, s => Assert.True(s.IsClosed()));
        stalled.ForEach(s => s.Dispose());
        await OnlyWitnessLeftAsync();
        AssertUnchanged();
    }

    [Fact]
    [Row(61)]
    public void Twenty_questions_about_a_disk_of_holes_cost_as_much_memory_as_one()
    {
        Serve(new AlternatingDevice(1L << 33));
        using var client = Server.Go(contexts: ["base:allocation", "qemu:allocation-depth"]);
        Ask(1);
        GC.Collect();
        var before = Environment.WorkingSet;
        Ask(20);
        Assert.InRange(Environment.WorkingSet - before, long.MinValue, 64L << 20);
        AssertAlive(client);

        void Ask(int times)
        {
            for (var i = 0; i < times; i++)
            {
                client.Request(NBD_CMD_BLOCK_STATUS, 0, uint.MaxValue - 511);
                Assert.Equal(NBD_REPLY_TYPE_BLOCK_STATUS, client.Reply().Type);
                Assert.Equal(NBD_REPLY_TYPE_BLOCK_STATUS, client.Reply().Type);
            }
        }
    }
}
