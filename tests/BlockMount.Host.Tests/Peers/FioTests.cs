using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests.Peers;

/// <summary>fio on the disks that <see cref="ChainUnderLoadTests"/> does not put under load.</summary>
public sealed class FioTests : PeerTest
{
    public FioTests(PeerDisks disks)
        : base(disks) => Peer.Require("fio", "fio");

    [Theory]
    [InlineData("raw")]
    [InlineData("vdi")]
    [InlineData("vdi:fixed")]
    [InlineData("vhd:fixed")]
    public async Task Fio_finds_every_checksum_of_what_it_wrote_with_sixteen_requests_in_flight(string kind)
    {
        await using var server = await ServeAsync(kind);
        await File.WriteAllTextAsync(
            Folder["job.fio"],
            $"""
            [job]
            ioengine=nbd
            uri={server.Uri}
            rw=randwrite
            bssplit=512/20:4k/40:12k/20:64k/15:1m/5
            blockalign=512
            iodepth=16
            size=12M
            offset=2M
            verify=crc32c
            do_verify=1
            verify_fatal=1
            randrepeat=1
            """);
        var output = await Peer.RunOkAsync("fio", "--output-format=json", "--aux-path=" + Folder.Root, Folder["job.fio"]);
        using var document = JsonDocument.Parse(output[output.IndexOf('{', StringComparison.Ordinal)..]);
        var job = Assert.Single(document.RootElement.GetProperty("jobs").EnumerateArray());
        Assert.Equal(0, job.GetProperty("error").GetInt32());
        Assert.Equal(12 << 20, job.GetProperty("write").GetProperty("io_bytes").GetInt64());
        Assert.Equal(12 << 20, job.GetProperty("read").GetProperty("io_bytes").GetInt64());
        await StopAsync(server);
        var content = await ContentAsync();
        AssertSame(Disks.Content.AsMemory(0, 2 << 20), content.AsMemory(0, 2 << 20));
        AssertSame(Disks.Content.AsMemory(14 << 20), content.AsMemory(14 << 20));
    }
}
