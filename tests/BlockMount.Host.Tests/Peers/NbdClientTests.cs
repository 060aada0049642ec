using BlockMount.TestSupport;

namespace BlockMount.Host.Tests.Peers;

/// <summary>The negotiation of nbd-client, which is one of its own; without the kernel's module it stops right behind it.</summary>
public sealed class NbdClientTests : PeerTest
{
    public NbdClientTests(PeerDisks disks)
        : base(disks) => Peer.Require("nbd-client", "nbd-client");

    [Fact]
    public async Task Nbd_client_lists_the_exports()
    {
        await using var server = await ServeAsync("vdi vdi vdi vdi", "-x", "the disk");
        Assert.Contains("\nthe disk: vdi, chain of 4 images", "\n" + await Peer.RunOkAsync("nbd-client", "-l", "-u", server.Socket), StringComparison.Ordinal);
        await StopAsync(server);
    }

    [Theory]
    [InlineData("the disk", true)]
    [InlineData("another", false)]
    public async Task Nbd_client_agrees_on_an_export_of_the_name_and_on_no_other(string name, bool exists)
    {
        Peer.Require(!File.Exists("/dev/nbd0"), "the kernel has nbd devices, and this test would take one");
        await using var server = await ServeAsync("raw", "-x", "the disk");
        var result = await Peer.RunAsync("nbd-client", ["-u", server.Socket, "-N", name, "/dev/nbd0"]);
        Assert.NotEqual(0, result.ExitCode);
        Assert.Equal(exists, (result.Output + result.Error).Contains($"size = {PeerDisks.Size >> 20}MB", StringComparison.Ordinal));

        // The server is none the worse for a client that goes without a word.
        Peer.Require("nbdinfo", "libnbd-bin");
        Assert.Equal($"{PeerDisks.Size}\n", await Peer.RunOkAsync("nbdinfo", "--size", server.Uri));
        await StopAsync(server);
    }
}
