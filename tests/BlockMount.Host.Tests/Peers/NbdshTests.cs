using BlockMount.TestSupport;

namespace BlockMount.Host.Tests.Peers;

public sealed class NbdshTests : PeerTest
{
    private const string Negotiation = """
        import errno
        h.set_opt_mode(True)
        h.connect_uri(uri)
        names = []
        h.opt_list(lambda name, text: names.append((name, text)) or 0)
        assert [text for name, text in names] == ["a test disk"], names
        h.set_export_name(names[0][0])
        h.add_meta_context("base:allocation")
        h.add_meta_context("qemu:allocation-depth")
        contexts = []
        h.opt_list_meta_context(lambda name: contexts.append(name) or 0)
        assert contexts == ["base:allocation", "qemu:allocation-depth"], contexts
        h.opt_info()
        assert h.get_size() == 16 << 20
        flags = (h.can_flush(), h.can_fua(), h.can_df(), h.can_multi_conn(), h.can_cache())
        assert all(flags), flags
        h.opt_go()
        assert h.get_structured_replies_negotiated()
        content = open(content, "rb").read()

        chunks = []
        h.pread_structured(200000, 500000, lambda data, offset, status, error: chunks.append((bytes(data), offset, status)) or 0, nbd.CMD_FLAG_DF)
        assert chunks == [(content[500000:700000], 500000, nbd.READ_DATA)], len(chunks)

        extents = {}
        def status(context, offset, entries, error):
            extents[context] = list(entries)
            return 0
        h.block_status(16 << 20, 0, status)
        for context in contexts:
            assert sum(extents[context][::2]) <= 16 << 20 and 0 not in extents[context][::2], extents
        many = extents["base:allocation"][0]
        h.block_status(many - 4096, 0, status, nbd.CMD_FLAG_REQ_ONE)
        assert extents["base:allocation"][::2] == [many - 4096], extents

        # More at once than the server answers in order: data of all 64, each in its own place.
        buffers = [nbd.Buffer(65536) for i in range(64)]
        cookies = [h.aio_pread(b, i * 200000) for i, b in enumerate(buffers)]
        while h.aio_in_flight() > 0:
            h.poll(-1)
        assert all(h.aio_command_completed(c) for c in cookies)
        for i, b in enumerate(buffers):
            assert b.to_bytearray() == content[i * 200000:i * 200000 + 65536], i
        h.cache(1 << 20, 0)

        h.set_strict_mode(0)
        def fails(expected, call):
            try:
                call()
            except nbd.Error as e:
                assert e.errnum == expected, (e.errnum, expected)
            else:
                assert False, expected

        """;

    public NbdshTests(PeerDisks disks)
        : base(disks) => Peer.Require("nbdsh", "python3-libnbd");

    [Theory]
    [MemberData(nameof(PeerDisks.Writable), MemberType = typeof(PeerDisks))]
    public async Task A_script_negotiates_reads_writes_zeroes_trims_and_is_refused_as_the_protocol_says(string kind)
    {
        await RunAsync(kind, """
            model = bytearray(content)
            def put(data, at, flags=0):
                h.pwrite(data, at, flags)
                model[at:at + len(data)] = data
            put(b"abc" * 1000, 12345, nbd.CMD_FLAG_FUA)
            put(b"d" * 512, (16 << 20) - 512)
            put(b"e" * 3000000, 1234567)
            h.zero(100000, 6 << 20)
            h.zero(4096, 7 << 20, nbd.CMD_FLAG_NO_HOLE)
            model[6 << 20:(6 << 20) + 100000] = bytes(100000)
            model[7 << 20:(7 << 20) + 4096] = bytes(4096)
            h.trim(1 << 20, 9 << 20)
            found = h.pread(1 << 20, 9 << 20)
            for s in range(0, 1 << 20, 512):
                assert found[s:s + 512] in (bytes(512), model[(9 << 20) + s:(9 << 20) + s + 512]), "trim left foreign bytes"
            model[9 << 20:10 << 20] = found
            h.flush()

            end = 16 << 20
            fails(errno.EINVAL, lambda: h.pread(512, end))
            fails(errno.EINVAL, lambda: h.pread(1024, end - 512))
            fails(errno.EINVAL, lambda: h.pread(512, (1 << 64) - 512))
            fails(errno.ENOSPC, lambda: h.pwrite(bytes(512), end))
            fails(errno.ENOSPC, lambda: h.pwrite(bytes(1024), end - 512))
            fails(errno.ENOSPC, lambda: h.zero(512, end))
            fails(errno.EINVAL, lambda: h.trim(512, end))
            fails(errno.EINVAL, lambda: h.cache(512, end))
            fails(errno.EINVAL, lambda: h.pread_structured(512, 0, lambda *a: 0, nbd.CMD_FLAG_REQ_ONE))
            fails(errno.EINVAL, lambda: h.pwrite(bytes(512), 0, nbd.CMD_FLAG_NO_HOLE))
            fails(errno.EINVAL, lambda: h.pwrite(bytes(512), 0, nbd.CMD_FLAG_DF))
            fails(errno.EINVAL, lambda: h.trim(512, 0, nbd.CMD_FLAG_NO_HOLE))
            fails(errno.EINVAL, lambda: h.flush(nbd.CMD_FLAG_DF))
            fails(errno.EINVAL, lambda: h.block_status(512, end, status))
            assert h.pread(end, 0) == model
            open(out, "wb").write(model)
            """);
        AssertSame(await File.ReadAllBytesAsync(Folder["model"]), await ContentAsync());
    }

    [Fact]
    public async Task A_script_may_change_nothing_of_a_read_only_disk()
    {
        await RunAsync("vmdk:stream", """
            assert h.is_read_only()
            for flags in (0, nbd.CMD_FLAG_FUA):
                fails(errno.EPERM, lambda: h.pwrite(bytes(512), 0, flags))
                fails(errno.EPERM, lambda: h.zero(512, 0, flags))
                fails(errno.EPERM, lambda: h.trim(512, 0, flags))
            h.flush()
            assert h.pread(16 << 20, 0) == content
            """);
        AssertSame(Disks.Content, await ContentAsync());
    }

    private async Task RunAsync(string kind, string script)
    {
        await using var server = await ServeAsync(kind, "-D", "a test disk", "--allocation-depth");
        var start = $"import nbd; h = nbd.NBD(); uri = '{server.Uri}'; content = '{await Disks.RawAsync()}'; out = '{Folder["model"]}'";
        var result = await Peer.RunAsync("nbdsh", ["-n", "-c", start, "-c", "-"], Negotiation + script + "\nh.shutdown()\nprint('all well')\n");
        Assert.True(result.ExitCode == 0 && result.Output.Contains("all well", StringComparison.Ordinal), result.Error + result.Output);
        await StopAsync(server);
    }
}
