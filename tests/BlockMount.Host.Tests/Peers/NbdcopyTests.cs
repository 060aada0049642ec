using BlockMount.TestSupport;

namespace BlockMount.Host.Tests.Peers;

public sealed class NbdcopyTests : PeerTest
{
    public NbdcopyTests(PeerDisks disks)
        : base(disks) => Peer.Require("nbdcopy", "libnbd-bin");

    [Theory]
    [MemberData(nameof(PeerDisks.All), MemberType = typeof(PeerDisks))]
    public async Task Nbdcopy_gets_every_byte_over_one_connection_and_over_four_and_keeps_holes(string kind)
    {
        await using var server = await ServeAsync(kind);
        await Peer.RunOkAsync("nbdcopy", server.Uri, Folder["out.raw"]);
        AssertSame(Disks.Content, await File.ReadAllBytesAsync(Folder["out.raw"]));
        var blocks = int.Parse(await Peer.RunOkAsync("stat", "--format=%b", Folder["out.raw"]));
        Assert.InRange(blocks * 512, 8 << 20, PeerDisks.Size - (4 << 20));
        await Peer.RunOkAsync("nbdcopy", "-C", "4", "-R", "16", "--request-size=65536", "--no-extents", server.Uri, Folder["four.raw"]);
        AssertSame(Disks.Content, await File.ReadAllBytesAsync(Folder["four.raw"]));
        await StopAsync(server);
    }

    [Theory]
    [MemberData(nameof(PeerDisks.Writable), MemberType = typeof(PeerDisks))]
    public async Task Nbdcopy_puts_a_whole_disk_over_another_with_its_holes_and_a_flush(string kind)
    {
        var content = new byte[PeerDisks.Size];
        new Random(5).NextBytes(content.AsSpan(2 << 20, 9 << 20));
        content.AsSpan(4 << 20, (1 << 20) + 512).Clear();
        await File.WriteAllBytesAsync(Folder["in.raw"], content);
        await using var server = await ServeAsync(kind);
        await Peer.RunOkAsync("nbdcopy", "-C", "4", "--flush", Folder["in.raw"], server.Uri);
        await Peer.RunOkAsync("nbdcopy", "-C", "4", server.Uri, Folder["out.raw"]);
        AssertSame(content, await File.ReadAllBytesAsync(Folder["out.raw"]));

        // Flushed is flushed: it survives the end of the process.
        await server.KillAsync();
        AssertSame(content, await ContentAsync());
    }
}
