using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>Images of qemu's read here, and images of ours read by qemu.</summary>
public sealed class QemuTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public QemuTests() => Peer.Require("qemu-img", "qemu-utils");

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("", 8 << 20)]
    [InlineData("-o static=on", 8 << 20)]
    [InlineData("", (5 << 20) + 512)]
    [InlineData("-o static=on", (3 << 20) + 12800)]
    [InlineData("", 512)]
    public async Task A_vdi_made_by_qemu_reads_exactly(string options, int size)
    {
        var raw = await RandomDiskAsync("disk.raw", size, seed: size);
        await Peer.RunOkAsync("qemu-img", ["convert", "-f", "raw", "-O", "vdi", .. options.Split(' ', StringSplitOptions.RemoveEmptyEntries), raw, _folder["disk.vdi"]]);

        Assert.Equal(await Blockmount.Sha256OfAsync($"cat {raw}"), await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {_folder["disk.vdi"]} -"));
    }

    [Theory]
    [InlineData("dynamic", 8 << 20)]
    [InlineData("fixed", 8 << 20)]
    [InlineData("dynamic", (5 << 20) + 512)]
    [InlineData("fixed", (3 << 20) + 12800)]
    public async Task A_vdi_made_here_passes_qemus_check_and_compares_equal(string variant, int size)
    {
        var raw = await RandomDiskAsync("disk.raw", size, seed: size);
        await Blockmount.OkAsync("convert", "--variant", variant, raw, _folder["disk.vdi"]);

        await Peer.RunOkAsync("qemu-img", "check", _folder["disk.vdi"]);
        await Peer.RunOkAsync("qemu-img", "compare", "-f", "raw", "-F", "vdi", raw, _folder["disk.vdi"]);
        using var info = JsonDocument.Parse(await Peer.RunOkAsync("qemu-img", "info", "--output=json", _folder["disk.vdi"]));
        Assert.Equal(size, info.RootElement.GetProperty("virtual-size").GetInt64());
    }

    [Fact]
    public async Task After_writes_zeroes_and_trims_by_qemu_io_the_image_passes_qemus_check_and_reads_as_qemu_wrote_it()
    {
        await Blockmount.OkAsync("create", _folder["disk.vdi"], "--size", "64M");
        string[] script =
        [
            "-c", "write -P 1 0 3M", "-c", "write -P 2 10M 64k", "-c", "write -z 1M 1M", "-c", "discard 2M 1M", "-c", "write -P 3 63M 1M",
            "-c", "write -z 20M 8M", "-c", "write -P 4 21M 512", "-c", "flush",
        ];
        await using (var server = await Server.StartAsync(_folder["s.sock"], _folder["disk.vdi"]))
        {
            await Peer.RunOkAsync("qemu-io", [.. script, "-f", "raw", server.Uri]);
            await Peer.RunOkAsync("qemu-io", ["-f", "raw", "-c", "read -P 1 0 1M", "-c", "read -P 0 1M 1M", "-c", "read -P 4 21M 512", server.Uri]);
            Assert.Equal(0, await server.StopAsync());
        }

        await Peer.RunOkAsync("qemu-img", "check", _folder["disk.vdi"]);
        await Peer.RunOkAsync(
            "qemu-io", "-f", "vdi", "-c", "read -P 1 0 1M", "-c", "read -P 0 1M 1M", "-c", "read -P 2 10M 64k", "-c", "read -P 3 63M 1M", "-c", "read -P 4 21M 512", _folder["disk.vdi"]);
    }

    [Theory]
    [InlineData("64K")]
    [InlineData("4M")]
    public async Task Block_sizes_that_qemu_refuses_come_back_as_they_went_in(string blockSize)
    {
        var raw = await RandomDiskAsync("disk.raw", 20 << 20, seed: 3);
        await Blockmount.OkAsync("convert", "--block-size", blockSize, raw, _folder["disk.vdi"]);

        Assert.Equal(await Blockmount.Sha256OfAsync($"cat {raw}"), await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {_folder["disk.vdi"]} -"));
    }

    [Fact]
    public async Task The_map_of_an_image_agrees_with_qemus()
    {
        await Peer.RunOkAsync("qemu-img", "create", "-f", "vdi", _folder["disk.vdi"], "32M");
        await Peer.RunOkAsync("qemu-io", "-f", "vdi", "-c", "write -P 1 3M 1M", "-c", "write -P 2 9M 2M", "-c", "write -P 3 30M 4k", _folder["disk.vdi"]);

        Assert.Equal(
            Data(await Peer.RunOkAsync("qemu-img", "map", "--output=json", "-f", "vdi", _folder["disk.vdi"])),
            Data(await Blockmount.OkAsync("map", "--json", _folder["disk.vdi"])));
    }

    /// <summary>The data runs of a map, joined: servers may cut them differently.</summary>
    private static List<(long Start, long Offset, long Length)> Data(string json)
    {
        using var document = JsonDocument.Parse(json);
        var runs = new List<(long Start, long Offset, long Length)>();
        foreach (var e in document.RootElement.EnumerateArray().Where(e => e.GetProperty("data").GetBoolean()))
        {
            var run = (Start: e.GetProperty("start").GetInt64(), Offset: e.GetProperty("offset").GetInt64(), Length: e.GetProperty("length").GetInt64());
            if (runs.Count > 0 && runs[^1] is var last && last.Start + last.Length == run.Start && last.Offset + last.Length == run.Offset)
            {
                runs[^1] = last with { Length = last.Length + run.Length };
            }
            else
            {
                runs.Add(run);
            }
        }

        return runs;
    }

    private async Task<string> RandomDiskAsync(string name, int size, int seed)
    {
        var bytes = new byte[size];
        new Random(seed).NextBytes(bytes);
        for (var at = 0; at + (1 << 20) <= size; at += 3 << 20)
        {
            bytes.AsSpan(at, 1 << 20).Clear();
        }

        await File.WriteAllBytesAsync(_folder[name], bytes);
        return _folder[name];
    }
}
