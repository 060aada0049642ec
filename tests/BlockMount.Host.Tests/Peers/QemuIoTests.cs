using BlockMount.TestSupport;

namespace BlockMount.Host.Tests.Peers;

public sealed class QemuIoTests : PeerTest
{
    private const int KiB = 1 << 10;
    private const int MiB = 1 << 20;

    public QemuIoTests(PeerDisks disks)
        : base(disks) => Peer.Require("qemu-io", "qemu-utils");

    [Theory]
    [MemberData(nameof(PeerDisks.Writable), MemberType = typeof(PeerDisks))]
    public async Task Qemu_io_reads_back_what_it_wrote_zeroed_and_discarded_and_so_does_the_next_process(string kind)
    {
        await using var server = await ServeAsync(kind);
        await RunAsync(
            server, "write -P 7 4k 8k", "read -P 7 4k 8k", "write -f -P 8 1000000 77", "read -P 8 1000000 77", "write -P 9 15M 1M", "write -z 2M 1M",
            "read -P 0 2M 1M", "write -z -u 4M 700k", "read -P 0 4M 700k", "aio_write -P 10 7000k 900k", "aio_write -P 11 10M 2M", "aio_flush",
            "read -P 10 7000k 900k", "read -P 11 10M 2M", "discard 12M 1M", "flush");

        // A second client sees the same.
        await RunAsync(server, "read -P 7 4k 8k", "read -P 9 15M 1M", "read -P 0 2M 1M");
        await StopAsync(server);
        var model = Disks.Content.ToArray();
        model.AsSpan(4 * KiB, 8 * KiB).Fill(7);
        model.AsSpan(1_000_000, 77).Fill(8);
        model.AsSpan(15 * MiB, MiB).Fill(9);
        model.AsSpan(2 * MiB, MiB).Clear();
        model.AsSpan(4 * MiB, 700 * KiB).Clear();
        model.AsSpan(7000 * KiB, 900 * KiB).Fill(10);
        model.AsSpan(10 * MiB, 2 * MiB).Fill(11);

        // What was discarded held zeros before.
        AssertSame(model, await ContentAsync());
    }

    [Fact]
    public async Task Qemu_io_is_refused_by_a_read_only_disk()
    {
        await using var server = await ServeAsync("vdi", "--read-only");
        var result = await Peer.RunAsync("qemu-io", ["-f", "raw", "-c", "write -P 1 0 4k", server.Uri]);
        Assert.NotEqual(0, result.ExitCode);
        await Peer.RunOkAsync("qemu-io", "-r", "-f", "raw", "-c", "read -P 1 1M 2M", server.Uri);
        await StopAsync(server);
        AssertSame(Disks.Content, await ContentAsync());
    }

    private static async Task RunAsync(Server server, params string[] commands)
    {
        var output = await Peer.RunOkAsync("qemu-io", ["-f", "raw", .. commands.SelectMany(c => (string[])["-c", c]), server.Uri]);
        Assert.DoesNotContain("failed", output, StringComparison.Ordinal);
    }
}
