using System.Text.Json;
using BlockMount.Nbd.Tests.Support;
using BlockMount.TestSupport;

namespace BlockMount.Nbd.Tests;

/// <summary>Clients that others wrote, against devices that answer at once and devices that answer late and out of order.</summary>
public sealed class PeerTests
{
    private const int Size = 24 << 20;

    [Fact]
    public async Task Nbdinfo_sees_sizes_flags_contexts_and_the_map()
    {
        Peer.Require("nbdinfo", "libnbd-bin");
        var device = new MemoryDevice(Size);
        device.Bytes.AsSpan(1 << 20, 1 << 20).Fill(1);
        await using var server = new TestServer(device);
        using var json = JsonDocument.Parse(await Peer.RunOkAsync("nbdinfo", "--json", server.Uri));
        var root = json.RootElement;
        Assert.Equal("newstyle-fixed", root.GetProperty("protocol").GetString());
        Assert.True(root.GetProperty("structured").GetBoolean());
        var export = root.GetProperty("exports")[0];
        Assert.Equal(("disk", "a disk"), (export.GetProperty("export-name").GetString(), export.GetProperty("description").GetString()));
        Assert.Equal(Size, export.GetProperty("export-size").GetInt64());
        Assert.Equal((1, 4096, 32 << 20), (Int("block_size_minimum"), Int("block_size_preferred"), Int("block_size_maximum")));
        Assert.Equal(["base:allocation", "qemu:allocation-depth"], export.GetProperty("contexts").EnumerateArray().Select(c => c.GetString()));
        foreach (var (can, expected) in ((string, bool)[])
            [("cache", true), ("df", true), ("fast-zero", true), ("flush", true), ("fua", true), ("multi-conn", true), ("trim", true), ("zero", true)])
        {
            var answer = await Peer.RunAsync("nbdinfo", ["--can", can, server.Uri]);
            Assert.True(answer.ExitCode == (expected ? 0 : 2), $"{can}: {answer.ExitCode} {answer.Error}");
        }

        using var map = JsonDocument.Parse(await Peer.RunOkAsync("nbdinfo", "--json", "--map", server.Uri));
        Assert.Equal(
            [(0L, 1L << 20, 3), (1L << 20, 1L << 20, 0), (2L << 20, Size - (2L << 20), 3)],
            map.RootElement.EnumerateArray().Select(e => (e.GetProperty("offset").GetInt64(), e.GetProperty("length").GetInt64(), e.GetProperty("type").GetInt32())));
        Assert.Contains("local", await Peer.RunOkAsync("nbdinfo", "--map=qemu:allocation-depth", server.Uri), StringComparison.Ordinal);

        int Int(string name) => export.GetProperty(name).GetInt32();
    }

    [Fact]
    public async Task Lists_show_every_export_with_its_description()
    {
        Peer.Require("nbdinfo", "libnbd-bin");
        Peer.Require("qemu-nbd", "qemu-utils");
        await using var server = new TestServer(
            [new NbdExport("first", new MemoryDevice(4096)) { Description = "eins" }, new NbdExport("zwö lf", new MemoryDevice(8192, readOnly: true))]);
        var nbdinfo = await Peer.RunOkAsync("nbdinfo", "--list", NbdUri.ForUnixSocket(server.Path));
        Assert.Contains("export=\"first\"", nbdinfo, StringComparison.Ordinal);
        Assert.Contains("export=\"zwö lf\"", nbdinfo, StringComparison.Ordinal);
        var qemu = await Peer.RunOkAsync("qemu-nbd", "-L", "-k", server.Path);
        Assert.Contains("exports available: 2", qemu, StringComparison.Ordinal);
        Assert.Contains("description: eins", qemu, StringComparison.Ordinal);
        Assert.Equal("8192\n", await Peer.RunOkAsync("nbdinfo", "--size", NbdUri.ForUnixSocket(server.Path, "zwö lf")));
        Assert.Equal(0, (await Peer.RunAsync("nbdinfo", ["--is", "read-only", NbdUri.ForUnixSocket(server.Path, "zwö lf")])).ExitCode);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Nbdcopy_copies_both_ways_over_four_connections(bool slow)
    {
        Peer.Require("nbdcopy", "libnbd-bin");
        using var folder = new TempFolder();
        var content = Content();
        await File.WriteAllBytesAsync(folder["in.raw"], content);
        var device = Device(slow);
        await using var server = new TestServer(device);
        await Peer.RunOkAsync("nbdcopy", "-C", "4", "--flush", folder["in.raw"], server.Uri);
        Assert.True(device.Bytes.AsSpan().SequenceEqual(content));
        Assert.True(device.Flushes > 0);
        await Peer.RunOkAsync("nbdcopy", "-C", "4", "--request-size=65536", server.Uri, folder["out.raw"]);
        Assert.True((await File.ReadAllBytesAsync(folder["out.raw"])).AsSpan().SequenceEqual(content));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Qemu_compares_equal_and_its_io_does_what_it_says(bool slow)
    {
        Peer.Require("qemu-img", "qemu-utils");
        Peer.Require("qemu-io", "qemu-utils");
        using var folder = new TempFolder();
        var device = Device(slow);
        Content().CopyTo(device.Bytes.AsSpan());
        await File.WriteAllBytesAsync(folder["d.raw"], device.Bytes);
        await using var server = new TestServer(device);
        await Peer.RunOkAsync("qemu-img", "compare", "-f", "raw", "-F", "raw", folder["d.raw"], server.Uri);
        var output = await Peer.RunOkAsync(
            "qemu-io", "-f", "raw", "-c", "write -P 7 4k 8k", "-c", "read -P 7 4k 8k", "-c", "write -f -P 8 1000000 77", "-c", "read -P 8 1000000 77",
            "-c", "write -z 1M 1M", "-c", "read -P 0 1M 1M", "-c", "discard 2M 1M", "-c", "flush", "-c", "aio_write -P 9 3M 1M", "-c", "aio_read 3M 1M",
            "-c", "aio_flush", "-c", "read -P 9 3M 1M", server.Uri);
        Assert.DoesNotContain("failed", output, StringComparison.Ordinal);
        Assert.Equal(-1, device.Bytes.AsSpan(3 << 20, 1 << 20).IndexOfAnyExcept((byte)9));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_libnbd_script_finds_everything_as_the_protocol_says(bool slow)
    {
        Peer.Require("nbdsh", "python3-libnbd");
        await using var server = new TestServer(Device(slow));
        const string script = """
            import errno
            h.set_export_name("disk")
            h.set_opt_mode(True)
            h.set_handshake_flags(nbd.HANDSHAKE_FLAG_MASK)
            h.connect_uri(uri)
            names = []
            h.opt_list(lambda name, text: names.append((name, text)) or 0)
            assert names == [("disk", "a disk")], names
            h.add_meta_context("base:allocation")
            h.add_meta_context("qemu:allocation-depth")
            contexts = []
            h.opt_list_meta_context(lambda name: contexts.append(name) or 0)
            assert contexts == ["base:allocation", "qemu:allocation-depth"], contexts
            h.opt_info()
            assert h.get_size() == 24 << 20
            h.opt_go()
            assert h.get_structured_replies_negotiated()
            h.pwrite(b"abc" * 1000, 12345, nbd.CMD_FLAG_FUA)
            assert h.pread(3000, 12345) == b"abc" * 1000
            chunks = []
            def chunk(data, offset, status, error):
                chunks.append((bytes(data), offset, status))
                return 0
            h.pread_structured(100000, 0, chunk, nbd.CMD_FLAG_DF)
            assert len(chunks) == 1 and len(chunks[0][0]) == 100000 and chunks[0][2] == nbd.READ_DATA
            extents = {}
            def status(context, offset, entries, error):
                extents[context] = list(entries)
                return 0
            h.block_status(1 << 20, 0, status)
            assert set(extents) == {"base:allocation", "qemu:allocation-depth"}, extents
            assert extents["base:allocation"] == [12288, 3, 4096, 0, (1 << 20) - 16384, 3], extents
            h.block_status(1 << 20, 0, status, nbd.CMD_FLAG_REQ_ONE)
            assert extents["base:allocation"] == [12288, 3], extents
            buffers = [nbd.Buffer(4096) for i in range(64)]
            cookies = [h.aio_pread(b, i * 4096) for i, b in enumerate(buffers)]
            while h.aio_in_flight() > 0:
                h.poll(-1)
            assert all(h.aio_command_completed(c) for c in cookies)
            h.zero(4096, 12288)
            h.trim(4096, 65536)
            h.cache(1 << 20, 0)
            h.flush()
            assert h.pread(4096, 12288) == bytes(4096)
            h.set_strict_mode(0)
            def fails(expected, call):
                try:
                    call()
                except nbd.Error as e:
                    assert e.errnum == expected, (e.errnum, expected)
                else:
                    assert False, expected
            fails(errno.EINVAL, lambda: h.pread(512, 24 << 20))
            fails(errno.ENOSPC, lambda: h.pwrite(bytes(512), 24 << 20))
            fails(errno.ENOSPC, lambda: h.zero(512, (24 << 20) - 1))
            fails(errno.EINVAL, lambda: h.trim(512, 24 << 20))
            fails(errno.EOPNOTSUPP, lambda: h.zero(512, 0, nbd.CMD_FLAG_FAST_ZERO))
            assert h.pread(512, 0) == bytes(512)
            h.shutdown()
            print("all well")
            """;
        var result = await Peer.RunAsync("nbdsh", ["-n", "-c", $"import nbd; h = nbd.NBD(); uri = '{server.Uri}'", "-c", "-"], script);
        Assert.True(result.ExitCode == 0 && result.Output.Contains("all well", StringComparison.Ordinal), result.Error + result.Output);
    }

    [Fact]
    public async Task Nbdkit_finds_every_write_it_checks_as_it_was_made()
    {
        Peer.Require("nbdkit", "nbdkit");
        Peer.Require("nbdcopy", "libnbd-bin");
        using var folder = new TempFolder();
        var content = Content();
        await File.WriteAllBytesAsync(folder["d.raw"], content);
        var device = Device(slow: true);
        content.CopyTo(device.Bytes.AsSpan());
        await using var server = new TestServer(device);
        string[] check = ["-U", "-", "--filter=checkwrite", "nbd", $"uri={server.Uri}", "--run", $"nbdcopy {folder["d.raw"]} \"$uri\""];
        await Peer.RunOkAsync("nbdkit", check);
        device.Bytes[123456] ^= 1;
        Assert.NotEqual(0, (await Peer.RunAsync("nbdkit", check)).ExitCode);
    }

    [Theory]
    [InlineData(false, "randwrite")]
    [InlineData(true, "randwrite")]
    [InlineData(true, "randrw")]
    public async Task Fio_verifies_what_four_connections_wrote(bool slow, string load)
    {
        Peer.Require("fio", "fio");
        using var folder = new TempFolder();
        await using var server = new TestServer(Device(slow));
        await File.WriteAllTextAsync(
            folder["job.fio"],
            $"""
            [global]
            ioengine=nbd
            uri={server.Uri}
            rw={load}
            bsrange=512-128k
            verify=crc32c
            do_verify=1
            verify_fatal=1
            iodepth=16
            size=5M
            group_reporting=1
            [a]
            offset=0
            [b]
            offset=6M
            [c]
            offset=12M
            [d]
            offset=18M
            """);
        var result = await Peer.RunAsync("fio", [folder["job.fio"]]);
        Assert.True(result.ExitCode == 0 && result.Output.Contains("err= 0", StringComparison.Ordinal), result.Error + result.Output);
    }

    private static MemoryDevice Device(bool slow) => slow ? new SlowDevice(Size) : new MemoryDevice(Size);

    /// <summary>Random bytes with holes in between.</summary>
    private static byte[] Content()
    {
        var content = new byte[Size];
        new Random(11).NextBytes(content);
        content.AsSpan(3 << 20, 5 << 20).Clear();
        content.AsSpan(20 << 20, 1 << 20).Clear();
        return content;
    }
}
