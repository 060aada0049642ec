using System.Buffers.Binary;
using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary><c>check --repair</c>, and what other programs say of the image before and after.</summary>
public sealed class RepairTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task A_vdi_that_qemu_finds_errors_in_has_none_after_a_repair()
    {
        Peer.Require("qemu-img", "qemu-utils");
        var path = await ImageAsync("vdi");
        Change(path, file =>
        {
            var table = (int)BinaryPrimitives.ReadUInt32LittleEndian(file.AsSpan(340));
            BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(table + (4 * 5)), 1);
            BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(table + (4 * 6)), 7777);
        });
        Assert.NotEqual(0, (await Peer.RunAsync("qemu-img", ["check", path])).ExitCode);
        Assert.Equal(3, (await Blockmount.RunAsync("check", path)).ExitCode);
        await AssertRepairsAsync(path, "entry_dropped", "block_shared", "allocated_count");
        await Peer.RunOkAsync("qemu-img", "check", path);
        await Peer.RunOkAsync("qemu-io", "-f", "vdi", "-c", "read -P 1 0 1M", "-c", "read -P 2 1M 1M", "-c", "read -P 2 5M 1M", "-c", "read -P 0 6M 1M", path);

        // Both go on reading what they read, and a write to one leaves the other.
        await Peer.RunOkAsync("qemu-io", "-f", "vdi", "-c", "write -P 9 5M 1M", "-c", "read -P 2 1M 1M", path);
    }

    [Fact]
    public async Task A_vhd_without_its_footer_gets_it_back_as_it_was()
    {
        Peer.Require("vhdiinfo", "libvhdi-utils");
        var path = _folder["dyn.vhd"];
        File.Copy(Samples.PathOf("single/dyn.vhd"), path);
        var whole = await File.ReadAllBytesAsync(path);
        Change(path, static file => file.AsSpan(file.Length - 512).Clear());
        await AssertRepairsAsync(path, "footer_lost");
        Assert.Equal(whole, await File.ReadAllBytesAsync(path));
        Change(path, static file => file.AsSpan(0, 512).Clear());
        Assert.NotEqual(0, (await Peer.RunAsync("vhdiinfo", [path])).ExitCode + (await Blockmount.RunAsync("set", path, "--uuid", "random")).ExitCode);
        await AssertRepairsAsync(path, "footer_copy_lost");
        Assert.Equal(whole, await File.ReadAllBytesAsync(path));
        await Peer.RunOkAsync("vhdiinfo", path);
    }

    [Fact]
    public async Task A_vmdk_whose_primary_table_is_damaged_is_restored_from_the_redundant_one()
    {
        Peer.Require("qemu-img", "qemu-utils");
        var path = await ImageAsync("vmdk");
        var whole = await File.ReadAllBytesAsync(path);
        Change(path, file =>
        {
            var directory = (int)BinaryPrimitives.ReadUInt64LittleEndian(file.AsSpan(56)) * 512;
            var table = (int)BinaryPrimitives.ReadUInt32LittleEndian(file.AsSpan(directory)) * 512;
            BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(table), 0x7FFFFFFF);
            BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(table + 4), BinaryPrimitives.ReadUInt32LittleEndian(file.AsSpan(table + 8)));
        });
        Assert.NotEqual(0, (await Peer.RunAsync("qemu-img", ["check", path])).ExitCode);
        await AssertRepairsAsync(path, "entry_restored", "entry_restored");
        Assert.Equal(whole, await File.ReadAllBytesAsync(path));
        await Peer.RunOkAsync("qemu-img", "check", path);
    }

    [Fact]
    public async Task What_cannot_be_repaired_or_makes_no_sense_is_one_sentence()
    {
        var (a, b) = (await ImageAsync("vhd"), _folder["other.vhd"]);
        await Blockmount.OkAsync("create", b, "--size", "8M");
        var other = await File.ReadAllBytesAsync(b);
        Change(a, file => other.AsSpan(other.Length - 512).CopyTo(file.AsSpan(file.Length - 512)));
        var before = await File.ReadAllBytesAsync(a);
        Assert.Contains("would be a guess", await Blockmount.FailsAsync(3, "check", "--repair", a), StringComparison.Ordinal);
        Assert.Equal(before, await File.ReadAllBytesAsync(a));
        await Blockmount.FailsAsync(2, "check", "--dry-run", b);
        await Blockmount.FailsAsync(2, "check", "--repair", "--read-only", b);
        Assert.Contains("Nothing to repair.", await Blockmount.OkAsync("check", "--repair", "--dry-run", b), StringComparison.Ordinal);
        Assert.Contains("No errors.", await Blockmount.OkAsync("check", "--repair", b), StringComparison.Ordinal);
        Assert.Equal(other, await File.ReadAllBytesAsync(b));
    }

    private static void Change(string path, Action<byte[]> change)
    {
        var file = File.ReadAllBytes(path);
        change(file);
        File.WriteAllBytes(path, file);
    }

    private async Task<string> ImageAsync(string extension)
    {
        Peer.Require("qemu-io", "qemu-utils");
        var (raw, path) = (_folder["disk.raw"], _folder[$"disk.{extension}"]);
        await Blockmount.OkAsync("create", raw, "--size", "8M");
        await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "write -P 1 0 1M", "-c", "write -P 2 1M 1M", "-c", "write -P 3 2M 1M", raw);
        await Blockmount.OkAsync("convert", raw, path);
        return path;
    }

    /// <summary>What a dry run tells, changing nothing, is what is done; nothing remains.</summary>
    private static async Task AssertRepairsAsync(string path, params string[] codes)
    {
        var before = await File.ReadAllBytesAsync(path);
        var dry = await Blockmount.RunAsync("check", "--repair", "--dry-run", "--json", path);
        Assert.Equal(3, dry.ExitCode);
        Assert.Equal(before, await File.ReadAllBytesAsync(path));
        using var told = JsonDocument.Parse(dry.Output);
        Assert.Equal(codes, told.RootElement.GetProperty("repairs").EnumerateArray().Select(static r => r.GetProperty("code").GetString()));

        using var done = JsonDocument.Parse(await Blockmount.OkAsync("check", "--repair", "--json", "--read", path));
        Assert.True(done.RootElement.GetProperty("ok").GetBoolean());
        Assert.Equal(told.RootElement.GetProperty("repairs").ToString(), done.RootElement.GetProperty("repairs").ToString());
        Assert.Contains("Nothing to repair.", await Blockmount.OkAsync("check", "--repair", "--dry-run", path), StringComparison.Ordinal);
    }
}
