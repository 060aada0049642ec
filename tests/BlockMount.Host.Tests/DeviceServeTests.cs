using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>Block devices of this host, served by the program. Needs root and loop devices.</summary>
public sealed class DeviceServeTests : IDisposable
{
    private const int Length = 4 << 20;
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(512)]
    [InlineData(4096)]
    public async Task Clients_are_told_the_sector_and_may_write_any_bytes_all_the_same(int sector)
    {
        Peer.Require("nbdinfo", "libnbd-bin");
        Peer.Require("qemu-io", "qemu-utils");
        var model = Noise();
        await File.WriteAllBytesAsync(_folder["backing"], model);
        using var loop = await TestMount.LoopAsync(_folder["backing"], "--sector-size", $"{sector}");
        await using (var server = await Server.StartAsync(_folder["s.sock"], loop.Path))
        {
            using var info = JsonDocument.Parse(await Peer.RunOkAsync("nbdinfo", "--json", server.Uri));
            var export = info.RootElement.GetProperty("exports")[0];
            Assert.Equal((Length, sector), (export.GetProperty("export-size").GetInt32(), export.GetProperty("block_size_minimum").GetInt32()));

            // Not what libnbd would let through by itself: requests inside sectors, across their borders, and the last byte.
            await Nbdsh.RunAsync($"""
                h.set_strict_mode(0)
                h.connect_uri({Nbdsh.Text(server.Uri)})
                for i, (offset, length) in enumerate([(1, 512), (4095, 512), (8191, 2), (12288 + 513, 1), (20000, 9000), ({Length} - 1, 1), (65536, 512)]):
                    h.pwrite(bytes([i + 1]) * length, offset)
                    assert h.pread(length, offset) == bytes([i + 1]) * length
                h.zero(1000, 100001)
                h.flush()
                """);
            foreach (var (i, offset, length) in ((int, int, int)[])[(1, 1, 512), (2, 4095, 512), (3, 8191, 2), (4, 12801, 1), (5, 20000, 9000), (6, Length - 1, 1), (7, 65536, 512)])
            {
                model.AsSpan(offset, length).Fill((byte)i);
            }

            model.AsSpan(100_001, 1000).Clear();

            await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "write -P 170 200000 1000", "-c", "write -z 300001 5000", "-c", "flush", "-c", "read -P 170 200000 1000", server.Uri);
            model.AsSpan(200_000, 1000).Fill(170);
            model.AsSpan(300_001, 5000).Clear();
            Assert.Equal(0, await server.StopAsync());
        }

        Assert.Equal(model, await File.ReadAllBytesAsync(_folder["backing"]));
    }

    [Fact]
    public async Task A_device_that_changes_its_size_ends_in_errors_and_not_in_wrong_bytes()
    {
        await File.WriteAllBytesAsync(_folder["backing"], Noise());
        using var loop = await TestMount.LoopAsync(_folder["backing"]);
        await using var server = await Server.StartAsync(_folder["s.sock"], loop.Path);
        await Nbdsh.RunAsync($$"""
            h.connect_uri({{Nbdsh.Text(server.Uri)}})
            h.pread(512, 0)
            subprocess.check_call(["truncate", "-s", "{{Length / 2}}", {{Nbdsh.Text(_folder["backing"])}}])
            subprocess.check_call(["losetup", "-c", "{{loop.Path}}"])
            time.sleep(0.15)
            started = time.monotonic()
            for operation in [lambda: h.pread(512, 0), lambda: h.pread(512, {{Length}} - 512), lambda: h.pwrite(bytes(512), 0), lambda: h.flush()]:
                try:
                    operation()
                    assert False, "no error"
                except nbd.Error as e:
                    assert e.errno == "EIO", e.errno
            assert time.monotonic() - started < 5
            """);
    }

    [Fact]
    public async Task A_device_in_use_is_refused_with_the_name_of_its_mount_point()
    {
        Peer.Require("mkfs.ext4", "e2fsprogs");
        await File.WriteAllBytesAsync(_folder["backing"], new byte[Length]);
        using var loop = await TestMount.LoopAsync(_folder["backing"]);
        await Peer.RunOkAsync("mkfs.ext4", "-q", loop.Path);
        using var mount = await TestMount.FileSystemAsync(loop.Path, _folder["mnt"]);
        var result = await Blockmount.RunAsync("serve", "--socket", _folder["s.sock"], loop.Path);
        Assert.NotEqual(0, result.ExitCode);
        Assert.Contains($"{loop.Path} is mounted on {_folder["mnt"]}; unmount it or add --read-only.", result.Error, StringComparison.Ordinal);
    }

    private static byte[] Noise()
    {
        var bytes = new byte[Length];
        new Random(5).NextBytes(bytes);
        return bytes;
    }
}
