using System.Runtime.InteropServices;
using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>Images and chains of every format, alone and mixed, under fio, and killed in the middle of writing.</summary>
public sealed class ChainUnderLoadTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("vdi vdi vdi vdi", 16)]
    [InlineData("vmdk", 4)]
    [InlineData("vmdk:split2g", 4)]
    [InlineData("vhd", 4)]
    [InlineData("vdi vmdk vhd", 4)]
    [InlineData("vhd vdi vmdk", 4)]
    public async Task Four_connections_that_write_verify_zero_and_trim_find_no_mismatch(string kinds, int mebibytes)
    {
        Peer.Require("fio", "fio");
        var leaf = await MakeChainAsync(4 * mebibytes, kinds);
        await using (var server = await Server.StartAsync(_folder["s.sock"], leaf))
        {
            // Each job owns a quarter of the disk; sizes are mixed, and every block is read back and checked by its checksum.
            await RunFioAsync(server.Uri, mebibytes, """
                rw=randwrite
                bssplit=512/20:4k/40:12k/20:64k/15:1m/5
                blockalign=512
                verify=crc32c
                do_verify=1
                verify_fatal=1
                """);
            await RunFioAsync(server.Uri, mebibytes, $"""
                rw=randtrim
                bs=64k
                io_size={mebibytes / 4}m
                """);
            await RunFioAsync(server.Uri, mebibytes, $"""
                rw=randwrite
                bs=4k
                zero_buffers=1
                io_size={mebibytes / 4}m
                """);
            await RunFioAsync(server.Uri, mebibytes, """
                rw=randwrite
                bssplit=512/20:4k/40:12k/20:64k/15:1m/5
                verify=crc32c
                do_verify=1
                verify_fatal=1
                """);
            Assert.Equal(0, await server.StopAsync());
            Assert.Equal(string.Empty, server.Errors.Trim());
        }

        await AssertConsistentAsync(leaf, kinds);
    }

    [Theory]
    [InlineData("vdi vdi vdi vdi")]
    [InlineData("vdi vmdk vhd")]
    public async Task Four_clients_that_write_zero_trim_and_flush_a_chain_at_once_read_what_a_model_says(string kinds)
    {
        Peer.Require("nbdsh", "python3-libnbd");
        var leaf = await MakeChainAsync(64, kinds);
        await using var server = await Server.StartAsync(_folder["s.sock"], leaf);

        // Each client owns every fourth 48 KiB piece, so that all of them meet in every block of the image.
        var clients = Enumerable.Range(0, 4).Select(client => Peer.RunAsync("nbdsh", ["-c", $"""
            import random
            random.seed({client})
            h.connect_uri("{server.Uri}")
            piece, size = 49152, 16 * 1024 * 1024
            places = list(range({client} * piece, size - piece, 4 * piece))
            model = dict((at, bytearray(h.pread(piece, at))) for at in places)
            for n in range(600):
                at = random.choice(places)
                start = 512 * random.randrange(0, 95)
                length = 512 * random.randrange(1, 97 - start // 512)
                if random.random() < 0.2:
                    start, length = 0, piece
                kind = random.randrange(8)
                m = model[at]
                if kind < 3:
                    data = random.randbytes(length)
                    h.pwrite(data, at + start, nbd.CMD_FLAG_FUA if random.random() < 0.1 else 0)
                    m[start:start + length] = data
                elif kind < 5:
                    h.zero(length, at + start, nbd.CMD_FLAG_NO_HOLE if kind == 4 else 0)
                    m[start:start + length] = bytes(length)
                elif kind == 5:
                    h.trim(length, at + start)
                    found = h.pread(length, at + start)
                    for s in range(0, length, 512):
                        assert found[s:s + 512] in (bytes(512), m[start + s:start + s + 512]), "trim left foreign bytes"
                    m[start:start + length] = found
                elif kind == 6 and random.random() < 0.2:
                    h.flush()
                else:
                    assert h.pread(piece, at) == m, "mismatch at %d" % at
            for at in places:
                assert h.pread(piece, at) == model[at], "final mismatch at %d" % at
            """])).ToArray();
        foreach (var client in clients)
        {
            var result = await client;
            Assert.True(result.ExitCode == 0, result.Error);
        }

        Assert.Equal(0, await server.StopAsync());
        Assert.Equal(string.Empty, server.Errors.Trim());
        await AssertConsistentAsync(leaf, kinds);
    }

    [Theory]
    [InlineData("vdi vdi vdi vdi", 1)]
    [InlineData("vdi vdi vdi vdi", 2)]
    [InlineData("vdi vdi vdi vdi", 3)]
    [InlineData("vmdk", 1)]
    [InlineData("vmdk:split2g", 1)]
    [InlineData("vhd", 1)]
    [InlineData("vmdk vmdk", 2)]
    [InlineData("vhd vhd", 2)]
    [InlineData("vdi vmdk vhd", 1)]
    public async Task A_server_killed_in_the_middle_of_writing_leaves_a_chain_that_opens_with_everything_that_was_flushed(string kinds, int seed)
    {
        Peer.Require("nbdsh", "python3-libnbd");
        var leaf = await MakeChainAsync(32, kinds);
        await Blockmount.OkAsync("convert", leaf, _folder["before.raw"]);
        await using var server = await Server.StartAsync(_folder["s.sock"], leaf);

        // Writes 4 KiB pieces numbered in order over the disk, flushes now and then and notes the number that a flush has covered.
        var script = $"""
            import random, struct, sys
            random.seed({seed})
            h.connect_uri("{server.Uri}")
            notes = open("{_folder["flushed"]}", "w")
            places = list(range(0, 32 * 1024 * 1024, 4096))
            random.shuffle(places)
            for n, at in enumerate(places):
                h.pwrite(struct.pack("<QQ", n, at) * 256, at)
                if n % 100 == 99:
                    h.flush()
                    print(n, file=notes, flush=True)
            """;
        var writing = Peer.RunAsync("nbdsh", ["-c", script]);
        var deadline = DateTime.UtcNow.AddSeconds(60);
        while (LastFlushed() < 400 * seed && DateTime.UtcNow < deadline)
        {
            await Task.Delay(5);
        }

        await server.KillAsync();
        Assert.NotEqual(0, (await writing).ExitCode);
        var flushed = LastFlushed();
        Assert.InRange(flushed, 400 * seed, 8191);

        await AssertConsistentAsync(leaf, kinds);
        await Blockmount.OkAsync("convert", leaf, _folder["after.raw"]);
        var after = await File.ReadAllBytesAsync(_folder["after.raw"]);
        var before = await File.ReadAllBytesAsync(_folder["before.raw"]);
        var found = 0;
        for (var at = 0; at < after.Length; at += 4096)
        {
            // Each sector is the write's or what was there before; both in one piece only in the write that was cut off.
            var written = Enumerable.Range(0, 8).Select(i => NumberOf(after.AsSpan(at + (512 * i), 512), at)).ToList();
            for (var i = 0; i < 8; i++)
            {
                var place = at + (512 * i);
                Assert.True(
                    written[i] >= 0 || after.AsSpan(place, 512).SequenceEqual(before.AsSpan(place, 512)), $"the sector at {place} is neither old nor new");
            }

            var number = written.Max();
            Assert.True(written.All(n => n == number) || number > flushed, $"the piece at {at}, number {number} of {flushed} flushed, is torn");
            found += number >= 0 && number <= flushed ? 1 : 0;
        }

        Assert.Equal(flushed + 1, found);
        await AssertPeersAgreeAsync(leaf, kinds);

        // A server that was killed leaves a stale socket, which the next one replaces.
        await using var next = await Server.StartAsync(_folder["s.sock"], leaf);
        Assert.Equal(0, await next.StopAsync());
    }

    private int LastFlushed()
    {
        var text = File.Exists(_folder["flushed"]) ? File.ReadAllText(_folder["flushed"]) : string.Empty;
        return text[..(text.LastIndexOf('\n') + 1)].Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(int.Parse).DefaultIfEmpty(-1).Last();
    }

    private async Task RunFioAsync(string uri, int mebibytes, string options)
    {
        var job = $"[global]\nioengine=nbd\nuri={uri}\niodepth=16\nsize={mebibytes}m\noffset_increment={mebibytes}m\nnumjobs=4\nrandrepeat=1\n{options}\n[job]\n";
        await File.WriteAllTextAsync(_folder["job.fio"], job);
        var result = await Peer.RunAsync("fio", ["--output-format=json", "--aux-path=" + _folder.Root, _folder["job.fio"]]);
        Assert.True(result.ExitCode == 0, $"fio exited {result.ExitCode}: {result.Error}{result.Output}");
        using var document = JsonDocument.Parse(result.Output[result.Output.IndexOf('{')..]);
        Assert.All(document.RootElement.GetProperty("jobs").EnumerateArray(), j => Assert.Equal(0, j.GetProperty("error").GetInt32()));
    }

    /// <summary>Makes one image per word, base first: a format, and for the base <c>:variant</c>. Half of the base is full, and every image between holds something.</summary>
    private async Task<string> MakeChainAsync(int mebibytes, string kinds)
    {
        var raw = new byte[mebibytes << 20];
        new Random(9).NextBytes(raw.AsSpan(0, raw.Length / 2));
        await File.WriteAllBytesAsync(_folder["base.raw"], raw);
        var kind = kinds.Split(' ');
        var (format, variant) = (kind[0].Split(':')[0], kind[0].Contains(':', StringComparison.Ordinal) ? kind[0].Split(':')[1] : "dynamic");
        var path = _folder[$"L0.{format}"];
        await Blockmount.OkAsync("convert", "--variant", variant, _folder["base.raw"], path);
        File.Delete(_folder["base.raw"]);
        for (var level = 1; level < kind.Length; level++)
        {
            var child = _folder[$"L{level}.{kind[level]}"];
            await Blockmount.OkAsync("create", child, "--parent", path, "--block-size", level % 2 == 0 ? "64K" : "1M");
            path = child;
            if (level == kind.Length - 1)
            {
                break;
            }

            await using var server = await Server.StartAsync(_folder["s.sock"], path);
            await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", $"write -P {level} {level}M 1536k", "-c", $"write -z {level + 8}M 2M", "-c", "flush", server.Uri);
            Assert.Equal(0, await server.StopAsync());
        }

        return path;
    }

    /// <summary>Other programs show what <c>after.raw</c> holds, as far as they can read the chain: none knows mixed ones, or children of VDIs.</summary>
    private async Task AssertPeersAgreeAsync(string leaf, string kinds)
    {
        if (kinds.Split(' ').All(k => k.StartsWith("vmdk", StringComparison.Ordinal)))
        {
            Peer.Require("qemu-img", "qemu-utils");
            await Peer.RunOkAsync("qemu-img", "compare", "-f", "raw", "-F", "vmdk", _folder["after.raw"], leaf);
            await Peer.RunOkAsync("qemu-img", "check", "-f", "vmdk", leaf);
        }
        else if (kinds is "vhd")
        {
            Peer.Require("qemu-img", "qemu-utils");
            await Peer.RunOkAsync("qemu-img", "compare", "-f", "raw", "-F", "vpc", _folder["after.raw"], leaf);
        }
        else if (kinds is "vhd vhd")
        {
            Peer.Require("vhdimount", "libvhdi-utils");
            Assert.Equal(await Blockmount.Sha256OfAsync($"cat {_folder["after.raw"]}"), await PeerMount.Sha256Async("vhdimount", leaf));
        }
    }

    /// <summary>Opening checks every table: entries in the file, no block named twice, all links.</summary>
    /// <summary>The number that a whole sector of the piece at that place carries; -1 when it is not such a one.</summary>
    private static long NumberOf(ReadOnlySpan<byte> sector, int place)
    {
        var records = MemoryMarshal.Cast<byte, long>(sector);
        for (var i = 0; i < records.Length; i += 2)
        {
            if (records[i] != records[0] || records[i] is < 0 or >= 8192 || records[i + 1] != place)
            {
                return -1;
            }
        }

        return records[0];
    }

    private static async Task AssertConsistentAsync(string leaf, string kinds)
    {
        using var info = JsonDocument.Parse(await Blockmount.OkAsync("info", "--json", leaf));
        Assert.Equal(kinds.Split(' ').Length, info.RootElement.GetProperty("images").GetArrayLength());
        Assert.All(info.RootElement.GetProperty("images").EnumerateArray(), i => Assert.True(i.GetProperty("links_ok").GetBoolean()));
        Assert.DoesNotContain(info.RootElement.GetProperty("diagnostics").EnumerateArray(), d => d.GetProperty("severity").GetString() == "error");
    }
}
