using System.Net.Sockets;
using BlockMount.Nbd.Tests.Support;
using BlockMount.TestSupport;

namespace BlockMount.Nbd.Tests.Abuse;

/// <summary>Connections in masses; alone, since descriptors belong to the whole process.</summary>
[Collection(typeof(AloneCollection))]
public sealed class ConnectionStormAbuseTests : AbuseTest
{
    [Fact]
    [Row(37)]
    public async Task Ten_thousand_connections_leave_no_descriptor_behind()
    {
        var server = Serve();
        Storm(server, 100);
        await OnlyWitnessLeftAsync();
        var before = Descriptors();
        Storm(server, 10_000);
        await OnlyWitnessLeftAsync();
        await TestServer.UntilAsync(() => Descriptors() <= before + 5, $"giving back descriptors ({before} before)");
        using var client = server.Go();
        AssertAlive(client);
    }

    [Fact]
    [Row(37)]
    public async Task A_server_out_of_descriptors_accepts_again_when_there_are_some()
    {
        Peer.Require("prlimit", "util-linux");

        // A warning says that descriptors ran out.
        DeviceFails = true;
        var server = Serve();
        var before = (await Peer.RunOkAsync("prlimit", "--pid", $"{Environment.ProcessId}", "--nofile", "--output=SOFT", "--noheadings")).Trim();
        await Peer.RunOkAsync("prlimit", "--pid", $"{Environment.ProcessId}", $"--nofile={Descriptors() + 60}:");
        var hoard = new List<Socket>();
        try
        {
            using var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            client.ReceiveTimeout = 20_000;
            Hoard(hoard);
            client.Connect(new UnixDomainSocketEndPoint(server.Path));
            await Task.Delay(300);
            Assert.Equal(0, client.Available);
            hoard.ForEach(s => s.Dispose());
            Assert.Equal(18, client.Receive(new byte[18]));
        }
        finally
        {
            hoard.ForEach(s => s.Dispose());
            await Peer.RunOkAsync("prlimit", "--pid", $"{Environment.ProcessId}", $"--nofile={before}:");
        }
    }

    private static void Hoard(List<Socket> hoard)
    {
        try
        {
            while (hoard.Count < 1000)
            {
                hoard.Add(new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified));
            }
        }
        catch (SocketException)
        {
            return;
        }

        Assert.Fail("the limit of descriptors was never reached");
    }

    private static void Storm(TestServer server, int count)
    {
        for (var i = 0; i < count; i++)
        {
            using var client = server.Connect();
            if (i % 3 == 0)
            {
                client.Greeting();
            }
        }
    }

    private static int Descriptors() => Directory.GetFiles("/proc/self/fd").Length;
}
