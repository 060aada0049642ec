using BlockMount.TestSupport;

namespace BlockMount.Host.Tests.Peers;

/// <summary>Files that somebody cuts off or removes under a running server.</summary>
public sealed class LostImageTests : PeerTest
{
    public LostImageTests(PeerDisks disks)
        : base(disks) => Peer.Require("nbdsh", "python3-libnbd");

    [Theory]
    [InlineData("raw", "disk.raw")]
    [InlineData("vdi", "disk.vdi")]
    [InlineData("vdi:fixed", "disk.vdi")]
    [InlineData("vhd", "disk.vhd")]
    [InlineData("vhd:fixed", "disk.vhd")]
    [InlineData("vmdk", "disk.vmdk")]
    [InlineData("vmdk:stream", "disk.vmdk")]
    [InlineData("vdi vdi vdi vdi", "L0.vdi")]
    [InlineData("vdi vmdk vhd", "L0.vdi")]
    public async Task What_was_cut_off_is_an_input_output_error_and_never_zeros_and_the_rest_is_served(string kind, string file)
    {
        await using var server = await ServeAsync(kind, "--read-only");
        var path = Path.Combine(Path.GetDirectoryName(Leaf)!, file);

        // Inside the data of the first 8 MiB.
        await Peer.RunOkAsync("truncate", "--size=4M", path);
        await RunAsync(server, """
            errors = good = 0
            tables_are_behind = TABLES_ARE_BEHIND
            for at in range(0, 16 << 20, 65536):
                try:
                    assert h.pread(65536, at) == content[at:at + 65536], "other bytes at %d" % at
                    good += 1
                except nbd.Error as e:
                    assert e.errnum == errno.EIO, e
                    errors += 1
            assert errors >= 32 and (good >= 32 or tables_are_behind), (errors, good)
            h.shutdown()
            """.Replace("TABLES_ARE_BEHIND", kind == "vmdk:stream" ? "True" : "False", StringComparison.Ordinal));

        // Each failure is logged under the name of the file.
        Assert.Contains(file, server.Errors, StringComparison.Ordinal);
        Assert.Equal(0, await server.StopAsync());
    }

    [Theory]
    [InlineData("raw", "disk.raw")]
    [InlineData("vdi", "disk.vdi")]
    [InlineData("vdi:fixed", "disk.vdi")]
    [InlineData("vhd", "disk.vhd")]
    [InlineData("vhd:fixed", "disk.vhd")]
    [InlineData("vmdk", "disk.vmdk")]
    [InlineData("vdi vdi vdi vdi", "L0.vdi")]
    [InlineData("vdi vmdk vhd", "L0.vdi")]
    public async Task A_copy_of_a_disk_that_was_cut_off_fails_and_the_map_makes_no_hole_of_what_is_lost(string kind, string file)
    {
        Peer.Require("nbdinfo", "libnbd-bin");
        Peer.Require("nbdcopy", "libnbd-bin");
        await using var server = await ServeAsync(kind, "--read-only");
        await Peer.RunOkAsync("truncate", "--size=4M", Path.Combine(Path.GetDirectoryName(Leaf)!, file));

        // An error says that something is lost. A hole would come out of every copy as zeros that nobody wrote.
        var map = await Peer.RunAsync("nbdinfo", ["--json", "--map", server.Uri]);
        if (map.ExitCode == 0)
        {
            CheckMap(map.Output, "offset", Disks.Content, e => (e.GetProperty("type").GetInt32() & 2) != 0);
        }

        Assert.NotEqual(0, (await Peer.RunAsync("nbdcopy", [server.Uri, Folder["out.raw"]])).ExitCode);
        Assert.Equal(0, await server.StopAsync());
    }

    [Theory]
    [InlineData("vdi vdi vdi vdi")]
    [InlineData("vdi vmdk vhd")]
    public async Task A_chain_whose_files_are_removed_or_replaced_goes_on_with_those_it_opened(string kind)
    {
        await using var server = await ServeAsync(kind);
        foreach (var file in Directory.GetFiles(Path.GetDirectoryName(Leaf)!))
        {
            File.Delete(file);
            await File.WriteAllTextAsync(file, "something else");
        }

        await RunAsync(server, """
            assert h.pread(16 << 20, 0) == content
            h.pwrite(b"x" * 5000, 123456)
            h.flush()
            assert h.pread(5000, 123456) == b"x" * 5000
            """);
        await StopAsync(server);
        Assert.All(Directory.GetFiles(Path.GetDirectoryName(Leaf)!), f => Assert.Equal("something else", File.ReadAllText(f)));
    }

    private async Task RunAsync(Server server, string script)
    {
        var start = $"import nbd, errno; h = nbd.NBD(); h.connect_uri('{server.Uri}'); content = open('{await Disks.RawAsync()}', 'rb').read()";
        var result = await Peer.RunAsync("nbdsh", ["-n", "-c", start, "-c", "-"], script);
        Assert.True(result.ExitCode == 0, result.Error + result.Output);
    }
}
