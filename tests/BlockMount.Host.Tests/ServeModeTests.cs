using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>Several images in one host, each with its own mode.</summary>
public sealed class ServeModeTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public ServeModeTests()
    {
        Peer.Require("qemu-io", "qemu-utils");
        Peer.Require("nbdinfo", "libnbd-bin");
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Each_export_has_its_own_mode_on_the_command_line()
    {
        await MakeAsync("a", "b", "c");
        var before = await ShaAsync("a", "b");
        await using var server = await Server.StartAsync(
            _folder["s.sock"], "--mode", "a=ro", "--mode", "b=overlay", "a=" + _folder["a.vdi"], "b=" + _folder["b.vdi"], _folder["c.vdi"]);

        await AssertModesAsync(server, ("a", "read-only"), ("b", "overlay"), ("c", "read-write"));
        await WriteAsync(server, "b");
        await WriteAsync(server, "c");
        Assert.Equal(0, await server.StopAsync());

        Assert.Equal(before, await ShaAsync("a", "b"));
        await Peer.RunOkAsync("qemu-io", "-r", "-f", "vdi", "-c", "read -P 7 1M 4k", _folder["c.vdi"]);
    }

    [Fact]
    public async Task What_holds_for_all_gives_way_to_an_exports_own_mode()
    {
        await MakeAsync("a", "b", "c");
        var before = await ShaAsync("a", "b");
        await using (var server = await Server.StartAsync(_folder["s.sock"], "--read-only", "--mode", "c=rw", _folder["a.vdi"], _folder["c.vdi"]))
        {
            await AssertModesAsync(server, ("a", "read-only"), ("c", "read-write"));
            Assert.Equal(0, await server.StopAsync());
        }

        await using (var server = await Server.StartAsync(_folder["s.sock"], "-s", "--mode", "b=ro", _folder["a.vdi"], _folder["b.vdi"]))
        {
            await AssertModesAsync(server, ("a", "overlay"), ("b", "read-only"));
            await WriteAsync(server, "a");
            Assert.Equal(0, await server.StopAsync());
        }

        Assert.Equal(before, await ShaAsync("a", "b"));
    }

    [Fact]
    public async Task A_configuration_file_says_it_for_each_export()
    {
        await MakeAsync("a", "b", "c");
        var before = await ShaAsync("a", "b");
        await WriteConfigAsync($$"""
            {"exports": [
              {"name": "one", "image": "{{_folder["a.vdi"]}}", "read_only": true, "description": "the \"first\"", "allocation_depth": true},
              {"name": "two", "image": "{{_folder["b.vdi"]}}", "overlay": "{{_folder["changes.vdi"]}}", "discard": "ignore"},
              {"name": "three", "image": "{{_folder["c.vdi"]}}", "offset": "1M", "size": 65536, "format": "vdi", "search": ["{{_folder.Root}}"]}
            ], "discard": "unmap", "max_connections": 5}
            """);
        await using (var server = await Server.StartAsync(_folder["s.sock"], "--config", _folder["c.json"]))
        {
            await AssertModesAsync(server, ("one", "read-only"), ("two", "overlay"), ("three", "read-write"));
            var list = await ListAsync(server);
            Assert.Equal("the \"first\"", list["one"].GetProperty("description").GetString());
            Assert.Equal("vdi, writes go to an overlay", list["two"].GetProperty("description").GetString());
            Assert.Equal("vdi, part of the disk, read-write", list["three"].GetProperty("description").GetString());
            Assert.Equal(65536, list["three"].GetProperty("export-size").GetInt64());
            Assert.Contains("qemu:allocation-depth", list["one"].GetProperty("contexts").EnumerateArray().Select(c => c.GetString()));
            Assert.DoesNotContain("qemu:allocation-depth", list["two"].GetProperty("contexts").EnumerateArray().Select(c => c.GetString()));
            Assert.False(list["two"].GetProperty("can_trim").GetBoolean());
            Assert.True(list["three"].GetProperty("can_trim").GetBoolean());
            await WriteAsync(server, "two");
            await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "write -P 9 0 4k", "-c", "flush", server.UriOf("three"));
            Assert.Equal(0, await server.StopAsync());
        }

        Assert.Equal(before, await ShaAsync("a", "b"));
        await Peer.RunOkAsync("qemu-io", "-r", "-f", "vdi", "-c", "read -P 9 1M 4k", "-c", "read -P 0 0 1M", _folder["c.vdi"]);

        // The overlay has the changes; the command line comes before the file.
        await using (var again = await Server.StartAsync(_folder["s.sock"], "--config", _folder["c.json"], "--mode", "three=ro", "--mode", "one=overlay"))
        {
            await Peer.RunOkAsync("qemu-io", "-r", "-f", "raw", "-c", "read -P 7 1M 4k", again.UriOf("two"));
            await AssertModesAsync(again, ("one", "overlay"), ("two", "overlay"), ("three", "read-only"));
            Assert.Equal(0, await again.StopAsync());
        }
    }

    [Theory]
    [InlineData("""{"exports": [{"image": "IMAGE", "readonly": true}]}""", "exports[0] has 'readonly'", "read_only")]
    [InlineData("""{"exports": [{"image": "IMAGE"}], "sockets": "x"}""", "'sockets'", "known are")]
    [InlineData("""{"exports": [{"image": "IMAGE", "read_only": "yes"}]}""", "exports[0]: read_only is \"yes\"", "true or false")]
    [InlineData("""{"exports": [{"image": "IMAGE"}, {"image": "IMAGE", "offset": "much"}]}""", "exports[1]: offset is \"much\"", "bytes")]
    [InlineData("""{"exports": [{"image": "IMAGE", "size": -1}]}""", "size is -1", "bytes")]
    [InlineData("""{"exports": [{"image": "IMAGE", "partition": 0}]}""", "partition is 0", "from 1")]
    [InlineData("""{"exports": [{"image": "IMAGE", "partition": 1.5}]}""", "partition is 1.5", "whole number")]
    [InlineData("""{"exports": [{"image": "IMAGE", "discard": "maybe"}]}""", "discard is \"maybe\"", "ignore or unmap")]
    [InlineData("""{"exports": [{"image": "IMAGE", "search": [1]}]}""", "search is [1]", "list of texts")]
    [InlineData("""{"exports": [{"image": "IMAGE", "read_only": true, "overlay": "temp"}]}""", "read_only and overlay", "one of the two")]
    [InlineData("""{"exports": [{"image": "IMAGE", "image": "IMAGE"}]}""", "image twice", "")]
    [InlineData("""{"exports": [{"image": "IMAGE", "name": "a\u0000b"}]}""", "The name", "no NUL")]
    [InlineData("""{"exports": [{"image": "IMAGE", "name": "\ud800"}]}""", "not Unicode", "")]
    [InlineData("""{"exports": [{"image": "IMAGE", "partition": 1, "partitions": true}]}""", "partition 1", "one of the two")]
    [InlineData("""{"exports": [{"name": "x"}]}""", "exports[0] has no image", "")]
    [InlineData("""{"exports": {"image": "IMAGE"}}""", "exports is {", "list of objects")]
    [InlineData("""{"exports": [{"image": "IMAGE"}], "max_connections": -1}""", "max_connections is -1", "from 0")]
    [InlineData("""{"exports": [{"image": "IMAGE"}], "socket_mode": 600}""", "socket_mode is 600", "a text")]
    [InlineData("""{"exports": [{"image": "IMAGE", "overlay": ""}]}""", "overlay is \"\"", "not empty")]
    [InlineData("""{"exports": [{"image": "IMAGE"}], "socket": ""}""", "socket is \"\"", "not empty")]
    [InlineData("""[1]""", "[1]", "object")]
    [InlineData("""{"exports": [{"image": "IMAGE", "overlay": "x.vdi", "name": "a"}, {"image": "IMAGE", "overlay": "x.vdi", "name": "b"}]}""", "'a' and 'b'", "one overlay")]
    [InlineData("""{"exports": [{"image": "IMAGE"}, {"image": "IMAGE"}]}""", "Two exports are called 'a'", "NAME=IMAGE")]
    public async Task Each_value_of_a_configuration_is_checked_with_a_sentence_that_names_it(string json, string names, string allowed)
    {
        await MakeAsync("a");
        var before = await ShaAsync("a");
        await WriteConfigAsync(json.Replace("IMAGE", _folder["a.vdi"], StringComparison.Ordinal));

        var error = await Blockmount.FailsAsync(2, "serve", "-k", _folder["s.sock"], "--config", _folder["c.json"]);

        Assert.Contains(names, error, StringComparison.Ordinal);
        Assert.Contains(allowed, error, StringComparison.Ordinal);
        Assert.Equal(before, await ShaAsync("a"));
        Assert.Equal(["a.vdi", "c.json"], Directory.GetFileSystemEntries(_folder.Root).Select(Path.GetFileName).Order());
    }

    [Fact]
    public async Task A_configuration_that_is_no_file_or_has_no_end_is_refused()
    {
        await Blockmount.FailsAsync(1, "serve", "--config", _folder["missing.json"]);
        await Blockmount.FailsAsync(4, "serve", "--config", _folder.Root);
        Assert.Contains("at most", await Blockmount.FailsAsync(2, "serve", "--config", "/dev/zero"), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("--mode x=ro", "no export is called 'x'")]
    [InlineData("--mode a=write", "ro, rw or overlay")]
    [InlineData("--mode ro", "ro, rw or overlay")]
    [InlineData("--mode a=ro --mode a=rw", "has a mode already")]
    [InlineData("-s --read-only", "one of the two")]
    [InlineData("-s --overlay kept.vdi", "one of the two")]
    [InlineData("--export-partitions --partition 1", "one of the two")]
    public async Task A_mode_that_makes_no_sense_is_refused_before_anything_is_opened(string options, string sentence)
    {
        await MakeAsync("a");

        Assert.Contains(sentence, await Blockmount.FailsAsync(2, ["serve", "-k", _folder["s.sock"], _folder["a.vdi"], .. options.Split(' ')]), StringComparison.Ordinal);
        Assert.Equal(["a.vdi"], Directory.GetFileSystemEntries(_folder.Root).Select(Path.GetFileName));
    }

    [Fact]
    public async Task One_image_may_be_read_by_two_exports_and_a_writer_is_alone()
    {
        await MakeAsync("a");
        var image = _folder["a.vdi"];
        await using (var readers = await Server.StartAsync(_folder["s.sock"], "a=" + image, "b=" + image, "c=" + image, "--read-only", "--mode", "c=overlay"))
        {
            await WriteAsync(readers, "c");
            await Peer.RunOkAsync("qemu-img", "compare", "-f", "raw", "-F", "raw", readers.UriOf("a"), readers.UriOf("b"));
            await Peer.RunOkAsync("qemu-io", "-r", "-f", "raw", "-c", "read -P 0 1M 4k", readers.UriOf("a"));
            Assert.Equal(0, await readers.StopAsync());
        }

        foreach (var other in new[] { "rw", "ro", "overlay" })
        {
            foreach (var (first, second) in new[] { ("rw", other), (other, "rw") })
            {
                var error = await Blockmount.FailsAsync(
                    4, "serve", "-k", _folder["s.sock"], "a=" + image, "b=" + image, "--mode", "a=" + first, "--mode", "b=" + second);
                Assert.Contains(image, error, StringComparison.Ordinal);
                Assert.Contains("in use by this process", error, StringComparison.Ordinal);
            }
        }
    }

    private async Task MakeAsync(params string[] names)
    {
        foreach (var name in names)
        {
            await Blockmount.OkAsync("create", _folder[name + ".vdi"], "--size", "4M");
        }
    }

    private async Task<string> ShaAsync(params string[] names) =>
        string.Join(' ', await Task.WhenAll(names.Select(name => Blockmount.Sha256OfAsync("cat " + _folder[name + ".vdi"]))));

    private Task WriteConfigAsync(string json) => File.WriteAllTextAsync(_folder["c.json"], json);

    private static Task<string> WriteAsync(Server server, string export) =>
        Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "write -P 7 1M 4k", "-c", "flush", "-c", "read -P 7 1M 4k", server.UriOf(export));

    private static async Task<Dictionary<string, JsonElement>> ListAsync(Server server)
    {
        using var list = JsonDocument.Parse(await Peer.RunOkAsync("nbdinfo", "--json", "--list", server.Uri));
        return list.RootElement.GetProperty("exports").EnumerateArray().ToDictionary(e => e.GetProperty("export-name").GetString()!, e => e.Clone());
    }

    /// <summary>What clients see, what they can do, and what <c>status</c> says.</summary>
    private static async Task AssertModesAsync(Server server, params (string Name, string Mode)[] expected)
    {
        var seen = await ListAsync(server);
        Assert.Equal(expected.Select(e => e.Name).Order(StringComparer.Ordinal), seen.Keys.Order(StringComparer.Ordinal));
        using var status = JsonDocument.Parse(await Blockmount.OkAsync("status", "--json", server.Pid.ToString()));
        var exports = status.RootElement[0].GetProperty("exports").EnumerateArray().ToDictionary(e => e.GetProperty("name").GetString()!);
        foreach (var (name, mode) in expected)
        {
            Assert.Equal(mode == "read-only", seen[name].GetProperty("is_read_only").GetBoolean());
            Assert.Equal(mode, exports[name].GetProperty("mode").GetString());
            Assert.Equal(mode == "read-only", exports[name].GetProperty("read_only").GetBoolean());
            if (mode == "read-only")
            {
                // Asked for a write all the same, past the client's own check.
                var refused = await Peer.RunAsync("nbdsh", ["-c", $"h.set_strict_mode(0)\nh.connect_uri('{server.UriOf(name)}')\nh.pwrite(b'x' * 512, 0)"]);
                Assert.NotEqual(0, refused.ExitCode);
                Assert.Contains("Operation not permitted", refused.Error, StringComparison.Ordinal);
            }
        }
    }
}
