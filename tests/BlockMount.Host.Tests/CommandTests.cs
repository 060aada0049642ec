using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

public sealed class CommandTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("create", "disk.vdi", "--size", "10Q")]
    [InlineData("info")]
    [InlineData("info", "a", "--partition", "3")]
    [InlineData("serve", "a", "--discard", "maybe")]
    [InlineData("frobnicate")]
    [InlineData("serve")]
    [InlineData("serve", "a", "--socket", "")]
    [InlineData("serve", "a", "--pid-file=")]
    [InlineData("serve", "--config", "")]
    [InlineData("serve", "a", "--overlay", "")]
    [InlineData("convert", "a", "b", "--search", "")]
    [InlineData("serve", "a", "-e", "many")]
    public async Task A_command_line_that_makes_no_sense_is_one_sentence_and_exit_code_2(params string[] arguments) =>
        Assert.DoesNotContain("System.", await Blockmount.FailsAsync(2, arguments), StringComparison.Ordinal);

    [Theory]
    [InlineData("create")]
    [InlineData("info")]
    [InlineData("map")]
    [InlineData("partitions")]
    [InlineData("set")]
    [InlineData("compact")]
    [InlineData("convert")]
    [InlineData("serve")]
    [InlineData("mount")]
    [InlineData("unmount")]
    [InlineData("list")]
    [InlineData("status")]
    [InlineData("doctor")]
    [InlineData("demo")]
    public async Task Every_command_has_help_with_an_example(string command) =>
        Assert.Contains($"  blockmount {command}", await Blockmount.OkAsync(command, "--help"), StringComparison.Ordinal);

    [Fact]
    public async Task Info_prints_the_documented_json_base_first()
    {
        using var info = JsonDocument.Parse(await Blockmount.OkAsync("info", "--json", Samples.PathOf("chain-vdi/chain-vdi-L3.vdi")));
        var images = info.RootElement.GetProperty("images").EnumerateArray().ToArray();

        Assert.Equal(16777216, info.RootElement.GetProperty("capacity").GetInt64());
        Assert.Equal(4, images.Length);
        var expected = Samples.All.Where(s => s.Set == "chain-vdi").ToArray();
        for (var level = 0; level < 4; level++)
        {
            Assert.Equal(Samples.PathOf(expected[level].File), images[level].GetProperty("path").GetString());
            Assert.Equal("vdi", images[level].GetProperty("format").GetString());
            Assert.Equal(level == 0 ? "dynamic" : "differencing", images[level].GetProperty("variant").GetString());
            Assert.Equal(expected[level].Uuid, images[level].GetProperty("uuid").GetString());
            Assert.Equal(1 << 20, images[level].GetProperty("block_size").GetInt32());
            Assert.Equal(new FileInfo(Samples.PathOf(expected[level].File)).Length, images[level].GetProperty("file_size").GetInt64());
            Assert.True(images[level].GetProperty("links_ok").GetBoolean());
            Assert.Equal(level > 0, images[level].TryGetProperty("parent_uuid", out var parent));
            Assert.Equal(level > 0 ? expected[level - 1].Uuid : null, level > 0 ? parent.GetString() : null);
        }

        Assert.Equal(JsonValueKind.Array, info.RootElement.GetProperty("partitions").ValueKind);
        Assert.Equal(JsonValueKind.Array, info.RootElement.GetProperty("diagnostics").ValueKind);
    }

    [Fact]
    public async Task A_vbox_file_opens_the_machines_current_disk_and_names_the_choice_when_there_are_two()
    {
        Directory.CreateDirectory(_folder["vm/Snapshots"]);
        File.Copy(Samples.PathOf("chain-vdi/chain-vdi-L0.vdi"), _folder["vm/system.vdi"]);
        File.Copy(Samples.PathOf("chain-vdi/chain-vdi-L1.vdi"), _folder["vm/Snapshots/{5a3b1e00-00d1-4000-8000-000000000001}.vdi"]);
        File.Copy(Samples.PathOf("single/dyn.vdi"), _folder["vm/data.vdi"]);
        const string data = """<AttachedDevice type="HardDisk" port="1" device="0"><Image uuid="{4f2ba812-bc1a-4ef0-89c7-ceb5becebe1a}"/></AttachedDevice>""";
        await WriteMachineAsync(string.Empty);
        var leaf = Samples.All.Single(s => s.File == "chain-vdi/chain-vdi-L1.vdi").Sha256;
        Assert.Equal(leaf, await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {_folder["vm/m.vbox"]} -"));

        await WriteMachineAsync(data);
        var error = await Blockmount.FailsAsync(2, "info", _folder["vm/m.vbox"]);
        Assert.Contains("SATA:0:0", error, StringComparison.Ordinal);
        Assert.Contains("data.vdi", error, StringComparison.Ordinal);
        Assert.Equal(
            Samples.All.Single(s => s.File == "single/dyn.vdi").Sha256, await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {_folder["vm/m.vbox"]}:data -"));
        Assert.Equal(leaf, await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {_folder["vm/m.vbox"]}:system.vdi -"));
    }

    [Fact]
    public async Task A_vbox_registry_leads_out_of_the_machines_folder_only_where_that_is_allowed()
    {
        Directory.CreateDirectory(_folder["vm"]);
        Directory.CreateDirectory(_folder["disks"]);
        File.Copy(Samples.PathOf("single/dyn.vdi"), _folder["disks/data.vdi"]);
        await File.WriteAllTextAsync(_folder["vm/m.vbox"], $$"""
            <VirtualBox xmlns="http://www.virtualbox.org/" version="1.16-linux"><Machine uuid="{11111111-2222-3333-4444-555555555555}" name="m">
            <MediaRegistry><HardDisks><HardDisk uuid="{4f2ba812-bc1a-4ef0-89c7-ceb5becebe1a}" location="{{_folder["disks/data.vdi"]}}" format="VDI" type="Normal"/></HardDisks></MediaRegistry>
            <StorageControllers><StorageController name="SATA" type="AHCI" PortCount="1"><AttachedDevice type="HardDisk" port="0" device="0"><Image uuid="{4f2ba812-bc1a-4ef0-89c7-ceb5becebe1a}"/></AttachedDevice></StorageController></StorageControllers>
            </Machine></VirtualBox>
            """);

        Assert.Contains($"--allow-path {_folder["disks"]}", await Blockmount.FailsAsync(3, "info", _folder["vm/m.vbox"]), StringComparison.Ordinal);
        await Blockmount.OkAsync("info", "--allow-path", _folder["disks"], _folder["vm/m.vbox"]);
    }

    [Fact]
    public async Task Convert_copies_one_differencing_image_as_such_with_its_link_and_zero_marks()
    {
        foreach (var level in new[] { 0, 1 })
        {
            File.Copy(Samples.PathOf($"chain-vdi/chain-vdi-L{level}.vdi"), _folder[$"L{level}.vdi"]);
        }

        File.Copy(Samples.PathOf("chain-vdi/chain-vdi-L2.vdi"), _folder["L2.vdi"]);
        await Blockmount.OkAsync("convert", "--keep-parent", _folder["L2.vdi"], _folder["copy.vdi"]);

        Assert.Equal(
            Samples.All.Single(s => s.File == "chain-vdi/chain-vdi-L2.vdi").Sha256, await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {_folder["copy.vdi"]} -"));
        using var info = JsonDocument.Parse(await Blockmount.OkAsync("info", "--json", _folder["copy.vdi"]));
        Assert.Equal(3, info.RootElement.GetProperty("images").GetArrayLength());
        Assert.NotEqual("5a3b1e00-00d1-4000-8000-000000000002", info.RootElement.GetProperty("images")[2].GetProperty("uuid").GetString());
    }

    [Theory]
    [InlineData("vdi", "vmdk", 65536)]
    [InlineData("vmdk", "vdi", 1 << 20)]
    [InlineData("vmdk", "vhd", 2 << 20)]
    [InlineData("vhd", "vmdk", 65536)]
    [InlineData("vdi", "vdi", 1 << 20)]
    [InlineData("vdi", "vhd", 2 << 20)]
    [InlineData("vmdk", "vmdk", 65536)]
    [InlineData("vhd", "vhd", 2 << 20)]
    [InlineData("vhd", "vdi", 1 << 20)]
    public async Task One_layer_copied_to_any_format_gets_that_formats_usual_block_size_and_keeps_its_content(string from, string to, int blockSize)
    {
        Peer.Require("qemu-io", "qemu-utils");
        await Blockmount.OkAsync("create", _folder["base.vdi"], "--size", "8M");
        await Blockmount.OkAsync("create", _folder["leaf." + from], "--parent", _folder["base.vdi"]);
        await using (var server = await Server.StartAsync(_folder["s.sock"], _folder["leaf." + from]))
        {
            await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "write -P 7 3000k 1500", "-c", "write -P 8 6M 512k", "-c", "flush", server.Uri);
            Assert.Equal(0, await server.StopAsync());
        }

        await Blockmount.OkAsync("convert", "--keep-parent", _folder["leaf." + from], _folder["copy." + to]);

        using var info = JsonDocument.Parse(await Blockmount.OkAsync("info", "--json", _folder["copy." + to]));
        Assert.Equal(blockSize, info.RootElement.GetProperty("images")[1].GetProperty("block_size").GetInt64());
        Assert.Equal(
            await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {_folder["leaf." + from]} -"), await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {_folder["copy." + to]} -"));
        var refused = await Blockmount.FailsAsync(2, "convert", "--keep-parent", "--variant", "stream", _folder["leaf." + from], _folder["other.vmdk"]);
        Assert.Contains("leave out one of the two", refused, StringComparison.Ordinal);
        Assert.False(File.Exists(_folder["other.vmdk"]));
    }

    [Fact]
    public async Task Convert_can_enlarge_and_can_copy_a_part()
    {
        var source = Samples.PathOf("single/dyn.vdi");
        await Blockmount.OkAsync("convert", "--size", "32M", source, _folder["large.raw"]);
        await Blockmount.OkAsync("convert", "--offset", "1M", "--size", "64K", source, _folder["part.raw"]);

        var whole = await Blockmount.OkAsync("convert", source, _folder["whole.raw"]);
        Assert.Contains("16 MiB", whole, StringComparison.Ordinal);
        var bytes = await File.ReadAllBytesAsync(_folder["whole.raw"]);
        var large = await File.ReadAllBytesAsync(_folder["large.raw"]);
        Assert.Equal(32 << 20, large.Length);
        Assert.True(large.AsSpan(0, bytes.Length).SequenceEqual(bytes));
        Assert.False(large.AsSpan(bytes.Length).ContainsAnyExcept((byte)0));
        Assert.Equal(bytes[(1 << 20)..((1 << 20) + 65536)], await File.ReadAllBytesAsync(_folder["part.raw"]));
        await Blockmount.FailsAsync(2, "convert", "--size", "1M", source, _folder["small.raw"]);
        Assert.False(File.Exists(_folder["small.raw"]));
    }

    [Fact]
    public async Task List_shows_a_running_server_with_its_clients_and_counters_and_forgets_a_killed_one()
    {
        Peer.Require("nbdcopy", "libnbd-bin");
        await using var server = await Server.StartAsync(_folder["s.sock"], "--read-only", "named=" + Samples.PathOf("single/dyn.vdi"));
        await Peer.RunOkAsync("nbdcopy", server.Uri, "null:");

        using (var list = JsonDocument.Parse(await Blockmount.OkAsync("list", "--json")))
        {
            var host = list.RootElement.EnumerateArray().Single(h => h.GetProperty("pid").GetInt32() == server.Pid);
            Assert.Equal("serve", host.GetProperty("command").GetString());
            var export = host.GetProperty("exports")[0];
            Assert.Equal("named", export.GetProperty("name").GetString());
            Assert.True(export.GetProperty("read_only").GetBoolean());
            Assert.InRange(export.GetProperty("bytes_read").GetInt64(), 1, 16 << 20);
        }

        await Blockmount.OkAsync("status", "named");
        await server.KillAsync();
        Assert.DoesNotContain($"pid {server.Pid},", await Blockmount.OkAsync("list"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Several_exports_are_served_by_name_and_a_forked_server_returns_when_it_is_ready()
    {
        Peer.Require("nbdinfo", "libnbd-bin");
        await Blockmount.OkAsync("create", _folder["one.vdi"], "--size", "1M");
        await Blockmount.OkAsync("create", _folder["two.raw"], "--size", "2M");
        var output = await Blockmount.OkAsync(
            "serve", "--fork", "--pid-file", _folder["pid"], "-k", _folder["s.sock"], "-t", "-e", "0", "-D", "text", "a=" + _folder["one.vdi"], _folder["two.raw"]);
        try
        {
            Assert.EndsWith("ready\n", output, StringComparison.Ordinal);
            Assert.Equal("1048576\n", await Peer.RunOkAsync("nbdinfo", "--size", $"nbd+unix:///?socket={_folder["s.sock"]}"));
            Assert.Equal("1048576\n", await Peer.RunOkAsync("nbdinfo", "--size", $"nbd+unix:///a?socket={_folder["s.sock"]}"));
            Assert.Equal("2097152\n", await Peer.RunOkAsync("nbdinfo", "--size", $"nbd+unix:///two?socket={_folder["s.sock"]}"));
        }
        finally
        {
            await Peer.RunOkAsync("/bin/kill", (await File.ReadAllTextAsync(_folder["pid"])).Trim());
        }

        for (var i = 0; i < 300 && (File.Exists(_folder["s.sock"]) || File.Exists(_folder["pid"])); i++)
        {
            await Task.Delay(100);
        }

        Assert.False(File.Exists(_folder["s.sock"]));
        Assert.False(File.Exists(_folder["pid"]));
    }

    [Fact]
    public async Task Serve_reads_its_exports_from_a_configuration_file()
    {
        Peer.Require("nbdinfo", "libnbd-bin");
        await Blockmount.OkAsync("create", _folder["one.vdi"], "--size", "1M");
        await File.WriteAllTextAsync(_folder["c.json"], $$"""{"exports": [{"name": "x", "image": "{{_folder["one.vdi"]}}"}], "allocation_depth": true}""");
        await using var server = await Server.StartAsync(_folder["s.sock"], "--config", _folder["c.json"]);

        Assert.Contains("allocation-depth", await Peer.RunOkAsync("nbdinfo", $"nbd+unix:///x?socket={_folder["s.sock"]}"), StringComparison.Ordinal);
        await File.WriteAllTextAsync(_folder["bad.json"], "{");
        await Blockmount.FailsAsync(2, "serve", "--config", _folder["bad.json"]);
    }

    [Fact]
    public async Task A_socket_passed_on_by_the_caller_is_served()
    {
        Peer.Require("nbdinfo", "libnbd-bin");

        // libnbd starts the command with a listening socket, as systemd would.
        Assert.Equal(
            "16777216\n",
            await Peer.RunOkAsync("nbdinfo", "--size", "--", "[", Blockmount.Program, "serve", "--read-only", Samples.PathOf("single/dyn.vdi"), "]"));
    }

    private async Task WriteMachineAsync(string second) =>
        await File.WriteAllTextAsync(_folder["vm/m.vbox"], $$"""
            <?xml version="1.0"?>
            <VirtualBox xmlns="http://www.virtualbox.org/" version="1.16-linux"><Machine uuid="{11111111-2222-3333-4444-555555555555}" name="m">
            <MediaRegistry><HardDisks>
            <HardDisk uuid="{5a3b1e00-00d1-4000-8000-000000000000}" location="system.vdi" format="VDI" type="Normal">
            <HardDisk uuid="{5a3b1e00-00d1-4000-8000-000000000001}" location="Snapshots/{5a3b1e00-00d1-4000-8000-000000000001}.vdi" format="VDI"/></HardDisk>
            <HardDisk uuid="{4f2ba812-bc1a-4ef0-89c7-ceb5becebe1a}" location="data.vdi" format="VDI" type="Normal"/>
            </HardDisks></MediaRegistry>
            <StorageControllers><StorageController name="SATA" type="AHCI" PortCount="2">
            <AttachedDevice type="HardDisk" port="0" device="0"><Image uuid="{5a3b1e00-00d1-4000-8000-000000000001}"/></AttachedDevice>{{second}}
            </StorageController></StorageControllers></Machine></VirtualBox>
            """);
}
