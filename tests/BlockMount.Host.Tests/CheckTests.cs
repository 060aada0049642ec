using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary><c>check</c> finds what is wrong, says where, and changes nothing.</summary>
public sealed class CheckTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("disk.vdi", "dynamic")]
    [InlineData("disk.vdi", "fixed")]
    [InlineData("disk.vhd", "dynamic")]
    [InlineData("disk.vhd", "fixed")]
    [InlineData("disk.vmdk", "dynamic")]
    [InlineData("disk.vmdk", "split2g")]
    [InlineData("disk.vmdk", "esx")]
    [InlineData("disk.vmdk", "stream")]
    [InlineData("disk.img", "fixed")]
    public async Task An_image_made_here_has_no_errors_and_every_stored_byte_is_read(string name, string variant)
    {
        var bytes = await RawAsync(4 << 20);
        await Blockmount.OkAsync("convert", "--variant", variant, _folder["disk.raw"], _folder[name]);
        var before = await Blockmount.Sha256OfAsync($"cat {_folder["disk"]}*");

        using var found = JsonDocument.Parse(await Blockmount.OkAsync("check", "--json", "--read", _folder[name]));

        Assert.True(found.RootElement.GetProperty("ok").GetBoolean());
        Assert.Empty(found.RootElement.GetProperty("diagnostics").EnumerateArray());
        Assert.InRange(found.RootElement.GetProperty("bytes_read").GetInt64(), bytes, 4 << 20);
        Assert.Equal(before, await Blockmount.Sha256OfAsync($"cat {_folder["disk"]}*"));
    }

    [Fact]
    public async Task Tables_that_contradict_themselves_are_an_error_with_its_place_in_the_file_and_exit_code_3()
    {
        await RawAsync(4 << 20);
        await Blockmount.OkAsync("convert", _folder["disk.raw"], _folder["disk.vmdk"]);
        int entry;
        using (var file = File.Open(_folder["disk.vmdk"], FileMode.Open))
        {
            // The first entry of the primary table is made the second.
            var directory = (int)U64(file, 56) * 512;
            entry = (int)U32(file, directory) * 512;
            var second = U32(file, entry + 4);
            file.Position = entry;
            file.Write(BitConverter.GetBytes(second));
        }

        var result = await Blockmount.RunAsync("check", "--json", _folder["disk.vmdk"]);

        Assert.Equal(3, result.ExitCode);
        using var found = JsonDocument.Parse(result.Output);
        Assert.False(found.RootElement.GetProperty("ok").GetBoolean());
        var first = found.RootElement.GetProperty("diagnostics").EnumerateArray().First();
        Assert.Equal("error", first.GetProperty("severity").GetString());
        Assert.Equal("tables", first.GetProperty("code").GetString());
        Assert.Equal(_folder["disk.vmdk"], first.GetProperty("file").GetString());
        Assert.Equal(entry, first.GetProperty("offset").GetInt64());
    }

    [Fact]
    public async Task Content_that_cannot_be_read_is_listed_place_by_place_and_the_rest_is_read()
    {
        await RawAsync(4 << 20);
        await Blockmount.OkAsync("convert", "--variant", "stream", _folder["disk.raw"], _folder["disk.vmdk"]);
        using (var file = File.Open(_folder["disk.vmdk"], FileMode.Open))
        {
            // Random bytes do not shrink, so these two places lie in two grains.
            file.Position = 65536 + 100_000;
            file.WriteByte(1);
            file.Position = 65536 + 900_000;
            file.WriteByte(1);
        }

        Assert.Contains("No errors.", await Blockmount.OkAsync("check", _folder["disk.vmdk"]), StringComparison.Ordinal);
        var result = await Blockmount.RunAsync("check", "--read", "--json", _folder["disk.vmdk"]);

        Assert.Equal(3, result.ExitCode);
        using var found = JsonDocument.Parse(result.Output);
        Assert.Equal(2, found.RootElement.GetProperty("diagnostics").GetArrayLength());
        Assert.All(found.RootElement.GetProperty("diagnostics").EnumerateArray(), static d =>
        {
            Assert.Equal("unreadable", d.GetProperty("code").GetString());
            Assert.Matches(@"^disk bytes \d+ to \d+: .*VMDK grain \d+ is damaged", d.GetProperty("message").GetString());
        });
        Assert.Equal((2 << 20) - (2 << 16), found.RootElement.GetProperty("bytes_read").GetInt64());
    }

    [Fact]
    public async Task A_file_with_the_marks_of_two_formats_is_opened_as_the_surer_one_and_every_command_says_so()
    {
        await Blockmount.OkAsync("create", _folder["inner.vdi"], "--size", "1M");
        File.Copy(_folder["inner.vdi"], _folder["disk.raw"]);
        await Blockmount.OkAsync("convert", "--to", "vhd", "--variant", "fixed", "--format", "raw", _folder["disk.raw"], _folder["disk.vhd"]);

        var check = await Blockmount.RunAsync("check", _folder["disk.vhd"]);
        Assert.Equal(0, check.ExitCode);
        Assert.Contains("vhd fixed", check.Output, StringComparison.Ordinal);
        Assert.Contains("also look like vdi; --format vdi", check.Output, StringComparison.Ordinal);
        var convert = await Blockmount.RunAsync("convert", _folder["disk.vhd"], _folder["out.raw"]);
        Assert.Equal(0, convert.ExitCode);
        Assert.Contains("also look like vdi", convert.Error, StringComparison.Ordinal);
        Assert.Equal(await Blockmount.Sha256OfAsync($"cat {_folder["disk.raw"]}"), await Blockmount.Sha256OfAsync($"cat {_folder["out.raw"]}"));
    }

    [Fact]
    public async Task A_chain_without_its_parent_is_an_error_and_its_images_are_checked_all_the_same()
    {
        await Blockmount.OkAsync("create", _folder["base.vdi"], "--size", "4M");
        await Blockmount.OkAsync("create", _folder["leaf.vhd"], "--parent", _folder["base.vdi"]);
        File.Delete(_folder["base.vdi"]);

        var result = await Blockmount.RunAsync("check", "--json", "--read", _folder["leaf.vhd"]);

        Assert.Equal(3, result.ExitCode);
        using var found = JsonDocument.Parse(result.Output);
        Assert.Equal("broken_chain", Assert.Single(found.RootElement.GetProperty("diagnostics").EnumerateArray()).GetProperty("code").GetString());
        Assert.Equal("vhd", Assert.Single(found.RootElement.GetProperty("images").EnumerateArray()).GetProperty("format").GetString());
    }

    private static uint U32(FileStream file, long at)
    {
        var bytes = new byte[4];
        file.Position = at;
        file.ReadExactly(bytes);
        return BitConverter.ToUInt32(bytes);
    }

    private static ulong U64(FileStream file, long at) => U32(file, at) | ((ulong)U32(file, at + 4) << 32);

    /// <summary>A disk whose first half is random bytes.</summary>
    private async Task<int> RawAsync(int size)
    {
        var bytes = new byte[size];
        new Random(size).NextBytes(bytes.AsSpan(0, size / 2));
        await File.WriteAllBytesAsync(_folder["disk.raw"], bytes);
        return size / 2;
    }
}
