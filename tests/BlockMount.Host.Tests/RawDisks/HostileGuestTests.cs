using BlockMount.TestSupport;

namespace BlockMount.Host.Tests.RawDisks;

/// <summary>
/// A disk with three partitions of which a client gets the first to write to and the third to read: whatever it tries, nothing outside the
/// first changes, and the host goes on using the second.
/// </summary>
public sealed class HostileGuestTests : IDisposable
{
    private const long MiB = 1 << 20;
    private const long Capacity = 64 * MiB;
    private const long FirstStart = MiB, FirstEnd = 17 * MiB, SecondEnd = 41 * MiB, ThirdEnd = 57 * MiB;

    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("gpt", "", 1)]
    [InlineData("gpt", "--relative", 2)]
    [InlineData("dos", "", 3)]
    public async Task Nothing_outside_the_partition_given_changes(string label, string option, int seed)
    {
        await using var disk = await LoopDisk.CreateAsync(_folder["disk.img"], 64, Table(label));
        await disk.MakeFileSystemAsync(2);
        await Blockmount.OkAsync(
            ["raw", "create", _folder["vm.vmdk"], "--disk", disk.Path, "--partitions", "1,3r", .. option.Length > 0 ? [option] : Array.Empty<string>()]);
        var tablesBefore = await Blockmount.Sha256OfAsync($"cat {_folder["vm-pt.vmdk"]}");
        var before = await OutsideAsync(disk);

        using (var mounted = await TestMount.FileSystemAsync(disk.Node(2), _folder["host"]))
        await using (var server = await Server.StartAsync(_folder["s.sock"], "--allow-devices", "--discard", "unmap", _folder["vm.vmdk"]))
        {
            await File.WriteAllTextAsync(Path.Combine(mounted.Path, "file"), "of the host");
            await Nbdsh.RunAsync(Attack(server.Socket, label == "gpt", seed));
            await Peer.RunOkAsync("sync", "-f", mounted.Path);
            Assert.Equal("of the host", await File.ReadAllTextAsync(Path.Combine(mounted.Path, "file")));
            Assert.Equal(0, await server.StopAsync());
        }

        Assert.Equal(before, await OutsideAsync(disk));
        Assert.NotEqual(tablesBefore, await Blockmount.Sha256OfAsync($"cat {_folder["vm-pt.vmdk"]}"));
        await disk.CheckFileSystemAsync(2);

        // What the client saw as the first partition is what is there.
        Assert.Equal(await File.ReadAllTextAsync(_folder["first.sha256"]), await disk.Sha256Async(FirstStart, FirstEnd - FirstStart));
    }

    [Fact]
    public async Task Writes_to_hidden_ranges_can_be_dropped_and_are_counted()
    {
        await using var disk = await LoopDisk.CreateAsync(_folder["disk.img"], 64, Table("gpt"));
        await Blockmount.OkAsync("raw", "create", _folder["vm.vmdk"], "--disk", disk.Path, "--partitions", "1,3r");
        var before = await OutsideAsync(disk);
        await using (var server = await Server.StartAsync(_folder["s.sock"], "--allow-devices", "--hidden-writes", "drop", _folder["vm.vmdk"]))
        {
            await Nbdsh.RunAsync($$"""
                import errno
                h.connect_unix({{Nbdsh.Text(server.Socket)}})
                h.pwrite(b"a" * 4096, {{FirstEnd - 1024}})
                h.zero(8192, {{SecondEnd - 8192}})
                assert h.pread(4096, {{FirstEnd - 1024}}) == b"a" * 1024 + bytes(3072)
                try:
                    h.pwrite(b"b" * 512, {{SecondEnd}})
                    assert False, "a read-only partition was written to"
                except nbd.Error as e:
                    assert e.errnum == errno.EPERM, e
                """);
            Assert.Equal(0, await server.StopAsync());
            Assert.Contains("2 writes of 11264 bytes to parts of the disk that are not shown were dropped", server.Errors, StringComparison.Ordinal);
        }

        Assert.Equal(before, await OutsideAsync(disk));
        Assert.Equal(await Blockmount.Sha256OfAsync("printf 'a%.0s' $(seq 1024)"), await disk.Sha256Async(FirstEnd - 1024, 1024));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Space_of_a_device_is_given_back_only_where_that_is_asked_for(bool isAskedFor)
    {
        await using var disk = await LoopDisk.CreateAsync(_folder["disk.img"], 64, Table("gpt"));
        await Blockmount.OkAsync("raw", "create", _folder["vm.vmdk"], "--disk", disk.Path, "--partitions", "1");
        string[] asked = isAskedFor ? ["--discard", "unmap"] : [];
        var before = new FileInfo(disk.File).Length;
        await using (var server = await Server.StartAsync(_folder["s.sock"], ["--allow-devices", .. asked, _folder["vm.vmdk"]]))
        {
            await Nbdsh.RunAsync($$"""
                h.connect_unix({{Nbdsh.Text(server.Socket)}})
                assert h.can_trim() == {{(isAskedFor ? "True" : "False")}}
                h.zero(1 << 20, {{2 * MiB}})
                if h.can_trim():
                    h.trim(1 << 20, {{4 * MiB}})
                h.flush()
                """);
            Assert.Equal(0, await server.StopAsync());
        }

        // Zeroing keeps space where it is; trimming is what a loop device makes a hole of.
        var blocks = long.Parse((await Peer.RunOkAsync("stat", "--format", "%b", disk.File)).Trim(), System.Globalization.CultureInfo.InvariantCulture) * 512;
        Assert.InRange(blocks, before - (isAskedFor ? MiB : 0), before - (isAskedFor ? MiB : 0) + (MiB / 2));
        Assert.Equal(await Blockmount.Sha256OfAsync($"head -c {MiB} /dev/zero"), await disk.Sha256Async(2 * MiB, MiB));
    }

    private static string Table(string label) =>
        $"label: {label}\nstart={FirstStart / 512}, size={(FirstEnd - FirstStart) / 512}, type=linux\n"
        + $"start={FirstEnd / 512}, size={(SecondEnd - FirstEnd) / 512}, type=linux\n"
        + $"start={SecondEnd / 512}, size={(ThirdEnd - SecondEnd) / 512}, type=linux\n";

    /// <summary>Hashes of all that no client may change, but for what the host itself writes.</summary>
    private static async Task<string> OutsideAsync(LoopDisk disk) => string.Join(
        ' ',
        await disk.Sha256Async(0, FirstStart),
        await disk.Sha256Async(SecondEnd, ThirdEnd - SecondEnd),
        await disk.Sha256Async(ThirdEnd, Capacity - ThirdEnd));

    /// <summary>Random requests all over the disk against a model; each touches what it may not, and is EPERM, or does what it says.</summary>
    private string Attack(string socket, bool isGpt, int seed) => $$"""
        import errno, hashlib, random
        h.set_strict_mode(0)
        h.connect_unix({{Nbdsh.Text(socket)}})
        size = h.get_size()
        assert size == {{Capacity}}
        # The table and the gap behind it are private copies, of a GPT the last 33 sectors too; the end of the first partition is where it must stop.
        first, end, third, tail = {{FirstStart}}, {{FirstEnd}}, {{SecondEnd}}, size - {{(isGpt ? 33 * 512 : 0)}}
        assert h.pread(4096, end) == bytes(4096), "the hidden partition shows"
        assert h.pread(4096, third) != bytes(4096), "the read-only partition does not show"
        model = bytearray(b"".join(h.pread(1 << 20, at) for at in range(0, end, 1 << 20)))
        rng = random.Random({{seed}})
        borders = [0, first, end, third, {{ThirdEnd}}, size]
        def run(f):
            try:
                f()
                return 0
            except nbd.Error as e:
                return e.errnum
        done = refused = 0
        for i in range(600):
            count = rng.choice([1, 17, 512, 4096, 65536, 300000])
            at = rng.choice(borders) + rng.randint(-count, count) if rng.random() < .6 else rng.randrange(size)
            if rng.random() < .2:
                at &= -512
            at = max(0, min(at, size - 1))
            count = min(count, size - at)
            kind = rng.choice(["write", "write", "fua", "zero", "keep", "trim"])
            data = rng.randbytes(count)
            result = run({
                "write": lambda: h.pwrite(data, at),
                "fua": lambda: h.pwrite(data, at, nbd.CMD_FLAG_FUA),
                "zero": lambda: h.zero(count, at),
                "keep": lambda: h.zero(count, at, nbd.CMD_FLAG_NO_HOLE),
                "trim": lambda: h.trim(count, at)}[kind])
            # Zeroing what reads as zero changes nothing, and may be answered either way.
            empties = kind in ("zero", "keep", "trim") and (at + count <= third or at >= {{ThirdEnd}})
            if result == 0 and (at + count <= end or empties or at >= tail):
                done += 1
                inside = max(0, min(count, end - at))
                if kind == "trim":
                    model[at:at + inside] = h.pread(inside, at) if inside else b""
                else:
                    model[at:at + inside] = (data if kind in ("write", "fua") else bytes(count))[:inside]
            elif end < at + count and at < tail:
                assert result == errno.EPERM, "%s of %d at %d: %d" % (kind, count, at, result)
                refused += 1
            else:
                assert result == 0, "%s of %d at %d: %d" % (kind, count, at, result)
            assert h.aio_is_ready()
        assert done > 100 and refused > 100, (done, refused)
        for f in (lambda: h.pwrite(b"x" * 512, size), lambda: h.zero(512, size), lambda: h.trim(1 << 20, size - 512), lambda: h.pread(512, size)):
            assert run(f) in (errno.EINVAL, errno.ENOSPC), "a request behind the end"

        # The client makes itself another table.
        h.pwrite(b"new table" + bytes(503), 0)
        if tail < size:
            h.pwrite(b"new end" + bytes(505), size - 512)
            assert h.pread(7, size - 512) == b"new end"
        assert h.pread(9, 0) == b"new table"
        model[0:512] = b"new table" + bytes(503)
        h.flush()
        found = b"".join(h.pread(1 << 20, at) for at in range(0, end, 1 << 20))
        assert found == bytes(model), "the disk differs from the model"
        with open({{Nbdsh.Text(_folder["first.sha256"])}}, "w") as f:
            f.write(hashlib.sha256(bytes(model[first:])).hexdigest())
        """;
}
