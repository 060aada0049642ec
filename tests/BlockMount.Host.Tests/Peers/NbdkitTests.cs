using BlockMount.TestSupport;

namespace BlockMount.Host.Tests.Peers;

/// <summary>nbdkit between a client and the server, checking or getting in the way.</summary>
public sealed class NbdkitTests : PeerTest
{
    public NbdkitTests(PeerDisks disks)
        : base(disks)
    {
        Peer.Require("nbdkit", "nbdkit");
        Peer.Require("nbdcopy", "libnbd-bin");
    }

    [Theory]
    [MemberData(nameof(PeerDisks.All), MemberType = typeof(PeerDisks))]
    public async Task Nbdkit_finds_what_the_disk_holds_equal_to_its_content_and_one_wrong_byte_unequal(string kind)
    {
        await using var server = await ServeAsync(kind);
        await Peer.RunOkAsync("nbdkit", CheckWrite(server, await Disks.RawAsync()));
        foreach (var at in (int[])[0, (5 << 20) + 77, PeerDisks.Size - 1])
        {
            var wrong = Disks.Content.ToArray();
            wrong[at] ^= 1;
            await File.WriteAllBytesAsync(Folder["wrong.raw"], wrong);
            var result = await Peer.RunAsync("nbdkit", CheckWrite(server, Folder["wrong.raw"]));
            Assert.True(result.ExitCode != 0, $"the wrong byte at {at} was not found");
        }

        await StopAsync(server);
        AssertSame(Disks.Content, await ContentAsync());
    }

    [Theory]
    [InlineData("vdi vdi vdi vdi")]
    [InlineData("vmdk")]
    public async Task Through_small_blocks_and_delays_every_byte_arrives(string kind)
    {
        var content = new byte[PeerDisks.Size];
        new Random(7).NextBytes(content.AsSpan(3 << 20, 4 << 20));
        await File.WriteAllBytesAsync(Folder["in.raw"], content);
        await using var server = await ServeAsync(kind);
        await Peer.RunOkAsync(
            "nbdkit", "-U", "-", "--filter=blocksize", "--filter=delay", "nbd", $"uri={server.Uri}", "maxdata=32k", "minblock=4k", "wdelay=1ms", "rdelay=1ms",
            "--run", $"nbdcopy -C 1 --flush {Folder["in.raw"]} \"$uri\"");
        await StopAsync(server);
        AssertSame(content, await ContentAsync());
    }

    private static string[] CheckWrite(Server server, string file) =>
        ["-U", "-", "--filter=checkwrite", "nbd", $"uri={server.Uri}", "--run", $"nbdcopy {file} \"$uri\""];
}
