using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>Partitions as exports beside the whole disk.</summary>
public sealed class PartitionExportTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public PartitionExportTests()
    {
        Peer.Require("qemu-io", "qemu-utils");
        Peer.Require("nbdinfo", "libnbd-bin");
        Peer.Require("sfdisk", "fdisk");
        Peer.Require("mkfs.ext4", "e2fsprogs");
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Each_partition_is_an_export_with_number_type_file_system_and_size()
    {
        var image = await MakeAsync("label: gpt\n1MiB, 8MiB, L\n16MiB, 4MiB, U\n");
        await using var server = await Server.StartAsync(_folder["s.sock"], "--export-partitions", "d=" + image, "--read-only");

        var list = await ListAsync(server);
        Assert.Equal(["d", "d-p1", "d-p2"], list.Keys.Order(StringComparer.Ordinal));
        Assert.Equal("vdi, read-only", list["d"].GetProperty("description").GetString());
        Assert.Equal("partition 1: Linux file system, ext4, 8 MiB, read-only", list["d-p1"].GetProperty("description").GetString());
        Assert.Equal(8 << 20, list["d-p1"].GetProperty("export-size").GetInt64());
        Assert.Equal(4 << 20, list["d-p2"].GetProperty("export-size").GetInt64());
        Assert.Contains("partition 2: EFI", list["d-p2"].GetProperty("description").GetString(), StringComparison.Ordinal);
        Assert.All(list.Values, e => Assert.True(e.GetProperty("is_read_only").GetBoolean()));
        Assert.Equal(["", "d-p1", "d-p2"], server.Uris.Select(u => new Uri(u).AbsolutePath.Trim('/')));
        Assert.Equal(0, await server.StopAsync());
        Assert.Equal(string.Empty, server.Errors.Trim());
    }

    [Fact]
    public async Task A_partition_and_the_whole_disk_show_each_others_writes_and_a_flush_of_either_is_durable()
    {
        var image = await MakeAsync("label: gpt\n1MiB, 8MiB, L\n16MiB, 4MiB, U\n");
        await using (var server = await Server.StartAsync(_folder["s.sock"], "--export-partitions", "d=" + image))
        {
            await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "write -P 5 1M 64k", "-c", "flush", server.UriOf("d-p2"));
            await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "read -P 5 17M 64k", "-c", "write -P 6 18M 64k", "-c", "flush", server.UriOf("d"));
            await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "read -P 5 1M 64k", "-c", "read -P 6 2M 64k", server.UriOf("d-p2"));

            // A flush of the partition covers what was written through the disk: nothing of it dies with the process.
            await Peer.RunOkAsync("nbdsh", "-c", $"""
                whole = nbd.NBD(); whole.connect_uri("{server.UriOf("d")}")
                part = nbd.NBD(); part.connect_uri("{server.UriOf("d-p2")}")
                whole.pwrite(b"\x08" * 4096, 19 * 1024 * 1024)
                part.flush()
                assert part.pread(4096, 3 * 1024 * 1024) == b"\x08" * 4096
                try:
                    part.set_strict_mode(0); part.pwrite(b"x" * 512, 4 * 1024 * 1024); assert False, "wrote past the partition"
                except nbd.Error as e:
                    assert e.errno == "ENOSPC", e
                """);
            using var status = JsonDocument.Parse(await Blockmount.OkAsync("status", "--json", "d-p2"));
            var exports = status.RootElement[0].GetProperty("exports").EnumerateArray().ToDictionary(e => e.GetProperty("name").GetString()!);
            Assert.Equal(1, exports["d-p2"].GetProperty("writes").GetInt64());
            Assert.Equal(2, exports["d"].GetProperty("writes").GetInt64());
            Assert.Equal(0, exports["d-p1"].GetProperty("writes").GetInt64());
            await server.KillAsync();
        }

        await Peer.RunOkAsync("qemu-io", "-r", "-f", "vdi", "-c", "read -P 5 17M 64k", "-c", "read -P 6 18M 64k", "-c", "read -P 8 19M 4k", image);
        await Peer.RunOkAsync("qemu-img", "check", image);
    }

    [Fact]
    public async Task The_mode_of_the_disk_is_that_of_its_partitions_and_an_overlay_is_one_for_all()
    {
        var image = await MakeAsync("label: gpt\n1MiB, 8MiB, L\n16MiB, 4MiB, U\n");
        var before = await Blockmount.Sha256OfAsync("cat " + image);
        await using var server = await Server.StartAsync(_folder["s.sock"], "--export-partitions", "--snapshot", "d=" + image);

        await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "write -P 5 1M 64k", "-c", "flush", server.UriOf("d-p2"));
        await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "read -P 5 17M 64k", server.UriOf("d"));
        Assert.Equal(0, await server.StopAsync());
        Assert.Equal(before, await Blockmount.Sha256OfAsync("cat " + image));
    }

    [Fact]
    public async Task A_configuration_asks_for_the_partitions_of_one_disk_and_for_one_partition_of_another()
    {
        var image = await MakeAsync("label: gpt\n1MiB, 8MiB, L\n16MiB, 4MiB, U\n");
        File.Copy(image, _folder["other.vdi"]);
        await File.WriteAllTextAsync(_folder["c.json"], $$"""
            {"exports": [
              {"name": "all", "image": "{{image}}", "partitions": true, "description": "mine"},
              {"name": "one", "image": "{{_folder["other.vdi"]}}", "partition": 2}
            ]}
            """);
        await using var server = await Server.StartAsync(_folder["s.sock"], "--config", _folder["c.json"], "--mode", "all=ro");

        var list = await ListAsync(server);
        Assert.Equal(["all", "all-p1", "all-p2", "one"], list.Keys.Order(StringComparer.Ordinal));
        Assert.Equal("mine", list["all"].GetProperty("description").GetString());
        Assert.True(list["all-p2"].GetProperty("is_read_only").GetBoolean());
        Assert.Equal("vdi, part of the disk, read-write", list["one"].GetProperty("description").GetString());
        Assert.Equal(4 << 20, list["one"].GetProperty("export-size").GetInt64());
        Assert.Equal(0, await server.StopAsync());
    }

    [Fact]
    public async Task A_damaged_table_is_a_warning_and_the_whole_disk_is_served()
    {
        var image = await MakeAsync("label: gpt\n1MiB, 8MiB, L\n16MiB, 4MiB, U\n", raw =>
        {
            // Both copies of the table have another check sum now.
            raw[1024 + 56] ^= 0xff;
            raw[raw.Length - 512 + 56] ^= 0xff;
        });
        await using var server = await Server.StartAsync(_folder["s.sock"], "--export-partitions", "d=" + image);

        Assert.Equal(["d"], (await ListAsync(server)).Keys);
        Assert.Contains("warning: d: ", server.Errors, StringComparison.Ordinal);
        Assert.Contains("the whole disk is served", server.Errors, StringComparison.Ordinal);
        Assert.Equal($"{32 << 20}\n", await Peer.RunOkAsync("nbdinfo", "--size", server.Uri));
        Assert.Equal(0, await server.StopAsync());
    }

    [Fact]
    public async Task A_disk_without_a_table_is_a_warning_too()
    {
        await Blockmount.OkAsync("create", _folder["empty.vdi"], "--size", "4M");
        await using var server = await Server.StartAsync(_folder["s.sock"], "--export-partitions", _folder["empty.vdi"]);

        Assert.Equal(["empty"], (await ListAsync(server)).Keys);
        Assert.Contains("warning: empty: it has no partitions to serve", server.Errors, StringComparison.Ordinal);
        Assert.Equal(0, await server.StopAsync());
    }

    [Fact]
    public async Task Partitions_that_overlap_are_served_read_only()
    {
        var image = await MakeAsync("label: dos\n1MiB, 8MiB, 83\n16MiB, 4MiB, 83\n", raw => raw[446 + 16 + 8 + 1] = 0x20);
        await using var server = await Server.StartAsync(_folder["s.sock"], "--export-partitions", "d=" + image);

        var list = await ListAsync(server);
        Assert.False(list["d"].GetProperty("is_read_only").GetBoolean());
        Assert.True(list["d-p1"].GetProperty("is_read_only").GetBoolean());
        Assert.True(list["d-p2"].GetProperty("is_read_only").GetBoolean());
        Assert.Contains("so 'd-p1' is read-only", server.Errors, StringComparison.Ordinal);
        Assert.Equal(0, await server.StopAsync());
    }

    [Fact]
    public async Task A_partition_that_is_called_like_another_export_is_refused()
    {
        var image = await MakeAsync("label: gpt\n1MiB, 8MiB, L\n");
        await Blockmount.OkAsync("create", _folder["o.vdi"], "--size", "4M");

        var refused = await Blockmount.RunAsync("serve", "-k", _folder["s.sock"], "--export-partitions", "--read-only", "d=" + image, "d-p1=" + _folder["o.vdi"]);
        Assert.Equal(2, refused.ExitCode);
        Assert.Contains("blockmount: Two exports are called 'd-p1'", refused.Error, StringComparison.Ordinal);
        Assert.False(File.Exists(_folder["s.sock"]));
    }

    private static async Task<Dictionary<string, JsonElement>> ListAsync(Server server)
    {
        using var list = JsonDocument.Parse(await Peer.RunOkAsync("nbdinfo", "--json", "--list", server.Uri));
        return list.RootElement.GetProperty("exports").EnumerateArray().ToDictionary(e => e.GetProperty("export-name").GetString()!, e => e.Clone());
    }

    /// <summary>A disk of 32 MiB with an ext4 of 8 MiB at 1 MiB, as a VDI.</summary>
    private async Task<string> MakeAsync(string table, Action<byte[]>? damage = null)
    {
        await Peer.RunOkAsync("truncate", "-s", "32M", _folder["disk.raw"]);
        var made = await Peer.RunAsync("sfdisk", ["--quiet", _folder["disk.raw"]], input: table);
        Assert.True(made.ExitCode == 0, made.Error);
        await Peer.RunOkAsync("mkfs.ext4", "-q", "-F", "-E", "offset=1048576", _folder["disk.raw"], "8M");
        if (damage is not null)
        {
            var raw = await File.ReadAllBytesAsync(_folder["disk.raw"]);
            damage(raw);
            await File.WriteAllBytesAsync(_folder["disk.raw"], raw);
        }

        await Blockmount.OkAsync("convert", _folder["disk.raw"], _folder["disk.vdi"]);
        return _folder["disk.vdi"];
    }
}
