using System.Globalization;
using System.Text.Json;
using BlockMount.Core.Tests.Partitions;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests.Partitions;

/// <summary><c>partitions</c>.</summary>
public sealed class PartitionsCommandTests : IDisposable
{
    private readonly TableFile _file = new();

    public void Dispose() => _file.Dispose();

    [Theory]
    [InlineData("label: dos\nlabel-id: 0xcafe1234\nstart=2048,size=8192,type=83,bootable\nstart=20480,size=100000,type=f\nstart=22528,size=4096,type=82\nstart=30720,size=4096,type=7\n")]
    [InlineData("label: gpt\nstart=2048,size=16384,type=U,name=\"EFI system\"\n5 : start=20480,size=16384,type=L,attrs=\"LegacyBIOSBootable GUID:60\"\n")]
    public async Task The_document_says_what_sfdisk_says(string script)
    {
        Peer.Require("sfdisk", "fdisk");
        _file.Disk.SaveTo(_file.Path);
        var made = await Peer.RunAsync("sfdisk", ["--quiet", _file.Path], script);
        Assert.True(made.ExitCode == 0, made.Error);
        using var sfdisk = JsonDocument.Parse(await Peer.RunOkAsync("sfdisk", "--json", _file.Path));
        var theirs = sfdisk.RootElement.GetProperty("partitiontable");

        var ours = TableDocument.Parse(await Blockmount.OkAsync("partitions", "--json", _file.Path));

        Assert.Equal(theirs.GetProperty("label").GetString() == "gpt" ? "gpt" : "mbr", ours.Scheme);
        Assert.Equal(theirs.GetProperty("sectorsize").GetInt32(), ours.Root.GetProperty("sector_size").GetInt32());
        Assert.EndsWith(ours.Root.GetProperty("disk_id").GetString()!, theirs.GetProperty("id").GetString()!.ToLowerInvariant(), StringComparison.Ordinal);
        Assert.Equal(
            theirs.GetProperty("partitions").EnumerateArray().Select(p => (p.GetProperty("start").GetInt64(), p.GetProperty("size").GetInt64(), TypeOf(p), TableDocument.Text(p, "name"), IsBootable(p))),
            ours.Ranges.Zip(ours.Partitions, (range, p) =>
                (range.Start, range.Count, p.GetProperty("type_id").GetString()!, TableDocument.Text(p, "name"), p.GetProperty("bootable").GetBoolean())));
        Assert.Empty(ours.Findings);

        string TypeOf(JsonElement p) => (ours.Scheme == "gpt" ? "" : "0x") + p.GetProperty("type").GetString()!.ToLowerInvariant();

        static bool IsBootable(JsonElement p) =>
            p.TryGetProperty("bootable", out _) || TableDocument.Text(p, "attrs")?.Contains("LegacyBIOSBootable", StringComparison.Ordinal) == true;
    }

    [Fact]
    public async Task The_text_has_every_field_and_every_finding()
    {
        Peer.Require("mkfs.ext4", "e2fsprogs");
        _file.Disk.PutDiskSignature(0xCAFE1234);
        _file.Disk.PutEntry(0, 0, 0x83, 2048, 32768, flag: 0x80);
        _file.Disk.PutEntry(0, 1, 0x0F, 40960, 20000);
        _file.Disk.PutEntry(0, 2, 0x07, 50000, 20000);
        _file.Disk.PutEntry(40960, 0, 0x83, 2048, 1000);
        _file.Disk.SaveTo(_file.Path);
        await Peer.RunOkAsync("mkfs.ext4", "-q", "-F", "-L", "root", "-E", "offset=1048576", _file.Path, "16M");

        var lines = (await Blockmount.OkAsync("partitions", _file.Path)).Split('\n');

        Assert.Equal($"Disk: {_file.Path}, 64 MiB (67108864 bytes)", lines[0]);
        Assert.Equal("Table: mbr, sectors of 512 bytes, disk id cafe1234", lines[1]);
        Assert.Matches(@"^ +1 +1048576 +16777216 +16 MiB +ext4 +boot +Linux file system \(0x83\), root$", lines[3]);
        Assert.Matches(@"^ +2 +20971520 +10240000 +9\.\d+ MiB +- +container,overlaps +Extended \(0xf\)$", lines[4]);
        Assert.Matches(@"^ +3 .* overlaps +NTFS, exFAT or HPFS \(0x7\)$", lines[5]);
        Assert.Matches(@"^ +5 +22020096 .* Linux file system \(0x83\)$", lines[6]);
        Assert.StartsWith("warning: overlap: Partitions 2 and 3 share bytes", lines[7], StringComparison.Ordinal);
    }

    [Fact]
    public async Task Control_characters_never_reach_the_terminal()
    {
        _file.Disk.PutGpt(new GptSketch(new GptSketchEntry(1, 2048, 4095) { Name = "a\u001b[31mb\u0085\r" }));
        _file.Disk.Put(2048 * 512, [0xEB, 0x58, 0x90]);
        _file.Disk.Put((2048 * 512) + 1080, [0x53, 0xEF]);
        _file.Disk.Put((2048 * 512) + 1144, "x\u001b]0;y\u0007"u8);
        var path = _file["di\u001bsk.raw"];
        _file.Disk.SaveTo(path);

        var text = await Blockmount.OkAsync("partitions", path);

        Assert.Contains(@"a\u001b[31mb\u0085\u000d", text, StringComparison.Ordinal);
        Assert.Contains(@"di\u001bsk.raw", text, StringComparison.Ordinal);
        Assert.DoesNotContain(text, c => char.IsControl(c) && c != '\n');
    }

    [Fact]
    public async Task A_disk_without_a_table_says_what_it_holds()
    {
        Peer.Require("mkfs.ext4", "e2fsprogs");
        _file.Disk.SaveTo(_file.Path);
        await Peer.RunOkAsync("mkfs.ext4", "-q", "-F", _file.Path);

        Assert.Contains("\nTable: none, ", await Blockmount.OkAsync("partitions", _file.Path), StringComparison.Ordinal);
        Assert.Contains("\nHolds: ext4, without a partition table\n", await Blockmount.OkAsync("partitions", _file.Path), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_foreign_table_is_named()
    {
        _file.Disk.Put(0, "ER"u8);
        _file.Disk.Put(512, "PM"u8);

        var table = await _file.ShowAsync();

        Assert.Equal("Apple partition map", table.Root.GetProperty("foreign_scheme").GetString());
        Assert.Equal(["warning foreign-scheme"], table.Findings);
        Assert.Contains("\nNot read: Apple partition map\n", await Blockmount.OkAsync("partitions", _file.Path), StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_sector_size_that_is_said_decides_what_an_MBR_means()
    {
        _file.Disk.PutEntry(0, 0, 0x83, 256, 1024);

        Assert.Equal([(1, 256, 1024)], (await _file.ShowAsync()).Ranges);
        Assert.Equal([(1, 2048, 8192)], (await _file.ShowAsync("--sector-size", "4096")).Ranges);
        Assert.Contains("'512' '4096'", await Blockmount.FailsAsync(2, "partitions", "--sector-size", "520", _file.Path), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_device_tells_the_size_of_its_sectors()
    {
        _file.Disk.PutEntry(0, 0, 0x83, 256, 1024);
        _file.Disk.SaveTo(_file.Path);
        using var loop = await TestMount.LoopAsync(_file.Path, "--sector-size", "4096");

        var table = TableDocument.Parse(await Blockmount.OkAsync("partitions", "--json", loop.Path));

        Assert.Equal([(1, 2048, 8192)], table.Ranges);
        Assert.Equal(4096, table.Root.GetProperty("sector_size").GetInt32());
    }

    [Fact]
    public async Task Images_and_chains_are_opened_as_other_commands_open_them()
    {
        _file.Disk.PutGpt(new GptSketch(new GptSketchEntry(1, 2048, 4095)));
        _file.Disk.SaveTo(_file.Path);
        await Blockmount.OkAsync("convert", _file.Path, _file["disk.vdi"]);
        await Blockmount.OkAsync("create", _file["leaf.vdi"], "--parent", _file["disk.vdi"]);
        var before = await Blockmount.Sha256OfAsync($"cat {_file["disk.vdi"]} {_file["leaf.vdi"]}");

        Assert.Equal([(1, 2048, 2048)], TableDocument.Parse(await Blockmount.OkAsync("partitions", "--json", _file["leaf.vdi"])).Ranges);
        Assert.Empty(TableDocument.Parse(await Blockmount.OkAsync("partitions", "--json", "--format", "raw", _file["leaf.vdi"])).Ranges);
        Assert.Equal(before, await Blockmount.Sha256OfAsync($"cat {_file["disk.vdi"]} {_file["leaf.vdi"]}"));
        Directory.CreateDirectory(_file["parents"]);
        File.Move(_file["disk.vdi"], _file["parents/disk.vdi"]);
        await Blockmount.FailsAsync(3, "partitions", _file["leaf.vdi"]);
        Assert.Equal([(1, 2048, 2048)], TableDocument.Parse(await Blockmount.OkAsync("partitions", "--json", "--search", _file["parents"], _file["leaf.vdi"])).Ranges);
    }

    [Fact]
    public async Task A_partition_that_the_disk_does_not_hold_whole_is_shown_cut_when_allowed()
    {
        _file.Disk.PutEntry(0, 0, 0x83, 2048, 8192);
        _file.Disk.PutEntry(0, 1, 0x83, 100000, 60000);
        _file.Disk.PutEntry(0, 2, 0x83, 200000, 1000);

        var strict = await _file.ShowAsync();
        var cut = await _file.ShowAsync("--allow-truncated");

        Assert.Equal([(1, 2048, 8192)], strict.Ranges);
        Assert.Equal([(1, 2048, 8192), (2, 100000, 31072)], cut.Ranges);
        Assert.Equal([false, true], cut.Partitions.Select(p => p.GetProperty("truncated").GetBoolean()));
        Assert.Equal(["error outside-disk", "error outside-disk"], cut.Findings);
        Assert.Matches(string.Create(CultureInfo.InvariantCulture, $@"\n +2 +{100000 * 512} .* truncated "), await Blockmount.OkAsync("partitions", "--allow-truncated", _file.Path));
    }
}
