using BlockMount.Nbd.Statistics;
using BlockMount.Nbd.Tests.Support;
using BlockMount.TestSupport;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests;

/// <summary>What a server counts of its clients' requests.</summary>
public sealed class TrafficTests
{
    [Fact]
    public async Task Every_kind_of_request_is_counted_when_its_answer_is_there_and_stays_counted_when_the_client_has_left()
    {
        await using var server = new TestServer(new MemoryDevice(1 << 20));
        var export = server.Server.Exports[0];
        using (var client = server.Go(contexts: "base:allocation"))
        {
            for (var i = 1; i <= 100; i++)
            {
                client.Read(0, 4096);
                Assert.Equal(((long)i, i * 4096L), Sums(NbdOperation.Read));
            }

            Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_WRITE, 0, 512, payload: new byte[512]));
            Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_WRITE, 0, 9 << 20 >> 4, payload: new byte[9 << 20 >> 4]));
            Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_WRITE_ZEROES, 0, 8192));
            Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_TRIM, 0, 8192));
            Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_FLUSH, 0, 0));
            Assert.Equal(NBD_ENOSPC, client.Error(NBD_CMD_WRITE, 1 << 20, 512, payload: new byte[512]));
            Assert.Equal(NBD_EINVAL, client.Error(77, 0, 0));
            Check();
            var own = Assert.Single(server.Server.Clients).Traffic;
            Assert.Equal(100, own[NbdOperation.Read].Count);
            Assert.Equal(100, own[NbdOperation.Read].FasterThan(40));
            Assert.InRange(own[NbdOperation.Read].Within(0.5), 1, own[NbdOperation.Read].Within(1));
        }

        await TestServer.UntilAsync(() => server.Server.OpenConnections == 0, "the end of the connection");
        Check();

        void Check()
        {
            Assert.Equal((100L, 409600L), Sums(NbdOperation.Read));
            Assert.Equal((3L, 512 + (9L << 20 >> 4)), Sums(NbdOperation.Write));
            Assert.Equal(1, server.Server.TrafficOf(export)[NbdOperation.Write].Errors);
            Assert.Equal((1L, 8192L), Sums(NbdOperation.Zero));
            Assert.Equal((1L, 8192L), Sums(NbdOperation.Trim));
            Assert.Equal((1L, 0L), Sums(NbdOperation.Flush));
            Assert.Equal((1L, 0L), Sums(NbdOperation.Other));
            Assert.Equal(1, server.Server.TrafficOf(export)[NbdOperation.Other].Errors);
        }

        (long, long) Sums(NbdOperation operation)
        {
            var counts = server.Server.TrafficOf(export)[operation];
            return (counts.Count, counts.Bytes);
        }
    }

    [Fact]
    public async Task Requests_that_wait_are_in_flight_and_their_wait_is_in_their_latency()
    {
        var slow = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var server = new TestServer(new SlowDevice(1 << 20) { Gate = (_, _) => slow.Task });
        using var client = server.Go();
        client.Request(NBD_CMD_READ, 0, 4096);
        var export = server.Server.Exports[0];
        await TestServer.UntilAsync(() => server.Server.TrafficOf(export).InFlight == 1, "a request in flight");
        Assert.Equal(0, server.Server.TrafficOf(export)[NbdOperation.Read].Count);
        await Task.Delay(150);
        slow.SetResult();
        client.Reply();

        var counts = server.Server.TrafficOf(export)[NbdOperation.Read];
        Assert.Equal((1L, 4096L, 0L), (counts.Count, counts.Bytes, counts.Errors));
        Assert.InRange(counts.Nanoseconds, 100_000_000, 20_000_000_000);
        Assert.InRange(counts.Within(0.99), counts.Nanoseconds, counts.Nanoseconds * 5 / 4);
        await TestServer.UntilAsync(() => server.Server.TrafficOf(export).InFlight == 0, "the end of the request");
    }

    [Fact]
    public void Buckets_follow_each_other_without_a_gap_and_are_narrow()
    {
        for (var bucket = 0; bucket < LatencyBuckets.Count - 1; bucket++)
        {
            var end = LatencyBuckets.End(bucket);
            Assert.Equal(bucket, LatencyBuckets.Of(end - 1));
            Assert.Equal(bucket + 1, LatencyBuckets.Of(end));
            Assert.True(end < 8 || end <= LatencyBuckets.End(bucket - 1) * 5 / 4, $"bucket {bucket} ends at {end}");
        }

        for (var exponent = 2; exponent < 40; exponent++)
        {
            Assert.Equal(LatencyBuckets.From(exponent), LatencyBuckets.Of(1L << exponent));
        }

        Assert.Equal(LatencyBuckets.Count - 1, LatencyBuckets.Of(long.MaxValue));
        Assert.Equal(0, LatencyBuckets.Of(-5));
    }
}
