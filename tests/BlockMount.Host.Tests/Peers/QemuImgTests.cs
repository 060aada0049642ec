using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests.Peers;

public sealed class QemuImgTests : PeerTest
{
    public QemuImgTests(PeerDisks disks)
        : base(disks) => Peer.Require("qemu-img", "qemu-utils");

    [Theory]
    [MemberData(nameof(PeerDisks.All), MemberType = typeof(PeerDisks))]
    public async Task Qemu_img_knows_the_size_compares_maps_and_converts_what_is_served(string kind)
    {
        await using var server = await ServeAsync(kind);
        using (var info = JsonDocument.Parse(await Peer.RunOkAsync("qemu-img", "info", "--output=json", "-f", "raw", server.Uri)))
        {
            Assert.Equal(PeerDisks.Size, info.RootElement.GetProperty("virtual-size").GetInt64());
        }

        await Peer.RunOkAsync("qemu-img", "compare", "-f", "raw", "-F", "raw", await Disks.RawAsync(), server.Uri);
        CheckMap(await Peer.RunOkAsync("qemu-img", "map", "--output=json", "-f", "raw", server.Uri), "start", Disks.Content, e => e.GetProperty("zero").GetBoolean());
        await Peer.RunOkAsync("qemu-img", "convert", "-W", "-m", "8", "-f", "raw", "-O", "raw", server.Uri, Folder["out.raw"]);
        AssertSame(Disks.Content, await File.ReadAllBytesAsync(Folder["out.raw"]));
        await StopAsync(server);
    }

    [Theory]
    [MemberData(nameof(PeerDisks.Writable), MemberType = typeof(PeerDisks))]
    public async Task Qemu_img_converts_into_a_served_disk(string kind)
    {
        var content = new byte[PeerDisks.Size];
        new Random(6).NextBytes(content.AsSpan(1 << 20, 5 << 20));
        await File.WriteAllBytesAsync(Folder["in.raw"], content);
        await using var server = await ServeAsync(kind);
        await Peer.RunOkAsync("qemu-img", "convert", "-n", "-m", "8", "-W", "-f", "raw", "-O", "raw", Folder["in.raw"], server.Uri);
        await Peer.RunOkAsync("qemu-img", "compare", "-f", "raw", "-F", "raw", Folder["in.raw"], server.Uri);
        await StopAsync(server);
        AssertSame(content, await ContentAsync());
    }
}
