using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>streamOptimized images made here, as other programs read them.</summary>
public sealed class VmdkStreamTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public VmdkStreamTests() => Peer.Require("qemu-img", "qemu-utils");

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(8 << 20)]
    [InlineData((5 << 20) + 512)]
    [InlineData((70 << 20) + 65536)]
    public async Task A_stream_made_here_is_the_same_disk_for_qemu_libvmdk_and_this_program(int size)
    {
        var raw = await DiskAsync(size);
        await Blockmount.OkAsync("convert", "--variant", "stream", raw, _folder["disk.vmdk"]);

        await Peer.RunOkAsync("qemu-img", "compare", "-f", "raw", "-F", "vmdk", raw, _folder["disk.vmdk"]);
        await Peer.RunOkAsync("qemu-img", "check", _folder["disk.vmdk"]);
        var wanted = await Blockmount.Sha256OfAsync($"cat {raw}");
        Assert.Equal(wanted, await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {_folder["disk.vmdk"]} -"));

        Peer.Require("vmdkinfo", "libvmdk-utils");
        var info = await Peer.RunOkAsync("vmdkinfo", _folder["disk.vmdk"]);
        Assert.Contains("Stream optimized", info, StringComparison.Ordinal);
        Assert.Contains($"({size} bytes)", info, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_stream_is_about_as_small_as_qemus_and_takes_no_writes()
    {
        var raw = await DiskAsync(16 << 20);
        await Blockmount.OkAsync("convert", "--variant", "stream", raw, _folder["ours.vmdk"]);
        await Peer.RunOkAsync("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, _folder["theirs.vmdk"]);

        Assert.InRange(new FileInfo(_folder["ours.vmdk"]).Length, 1, (long)(1.1 * new FileInfo(_folder["theirs.vmdk"]).Length));
        var refused = await Blockmount.FailsAsync(3, "serve", "--socket", _folder["s.sock"], _folder["ours.vmdk"]);
        Assert.Contains("--read-only", refused, StringComparison.Ordinal);
    }

    private async Task<string> DiskAsync(int size)
    {
        var raw = _folder["disk.raw"];
        var bytes = new byte[size];
        new Random(size).NextBytes(bytes.AsSpan(1 << 20, 2 << 20));
        bytes.AsSpan(size - 3000, 2500).Fill(7);
        for (var i = 4 << 20; i < size - 4096; i += 8192)
        {
            bytes.AsSpan(i, 4000).Fill((byte)(i >> 13));
        }

        await File.WriteAllBytesAsync(raw, bytes);
        return raw;
    }
}
