using BlockMount.Nbd.Tests.Support;
using BlockMount.TestSupport;

namespace BlockMount.Nbd.Tests;

[Collection(typeof(AloneCollection))]
public sealed class ConnectionStormTests
{
    [Fact]
    public async Task Ten_thousand_connections_leave_no_descriptor_behind()
    {
        await using var server = new TestServer(new MemoryDevice(1 << 20));
        Storm(server, 100);
        await TestServer.UntilAsync(() => server.Server.OpenConnections == 0, "the end of the first connections");
        var before = Descriptors();
        Storm(server, 10_000);
        await TestServer.UntilAsync(() => server.Server.OpenConnections == 0, "the end of all connections");
        await TestServer.UntilAsync(() => Descriptors() <= before + 5, $"giving back descriptors ({before} before)");
        using var client = server.Go();
        client.AssertInStep();
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
