using BlockMount.Attach.Fuse;
using BlockMount.Core.Devices;
using BlockMount.TestSupport;

namespace BlockMount.Attach.Tests;

public sealed class FuseWriteTests
{
    private const int Megabyte = 1 << 20;

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public async Task Random_reads_and_writes_agree_with_a_model(int delayMilliseconds)
    {
        const int size = 3 * Megabyte;
        var device = new FaultyDevice(size) { Delay = TimeSpan.FromMilliseconds(delayMilliseconds) };
        var model = new byte[size];
        await using var files = await MountedFiles.StartAsync(device);
        using var file = File.OpenHandle(files["disk.raw"], FileMode.Open, FileAccess.ReadWrite);
        var random = new Random(4711);
        for (var i = 0; i < 500; i++)
        {
            var offset = random.Next(size);
            var count = Math.Min(size - offset, random.Next(4) == 0 ? random.Next(2 * Megabyte) : random.Next(1, 9000));
            var bytes = new byte[count];
            if (random.Next(2) == 0)
            {
                random.NextBytes(bytes);
                bytes.CopyTo(model, offset);
                RandomAccess.Write(file, bytes, offset);
            }
            else
            {
                Assert.Equal(count, RandomAccess.Read(file, bytes, offset));
                Assert.True(bytes.AsSpan().SequenceEqual(model.AsSpan(offset, count)), $"read {i} at {offset}, {count} bytes");
            }
        }

        Assert.True(device.Bytes.AsSpan().SequenceEqual(model));
    }

    [Fact]
    public async Task Writers_at_the_same_time_do_not_mix_their_bytes()
    {
        const int slot = 128 * 1024;
        const int writers = 8;
        var device = new FaultyDevice(slot * writers) { Delay = TimeSpan.FromMilliseconds(1) };
        await using var files = await MountedFiles.StartAsync(device);
        await Task.WhenAll(Enumerable.Range(0, writers).Select(writer => Task.Factory.StartNew(
            () =>
            {
                using var file = File.OpenHandle(files["disk.raw"], FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
                for (var round = 1; round <= 10; round++)
                {
                    var bytes = RandomBytes.Of(slot, (writer * 100) + round);
                    RandomAccess.Write(file, bytes, writer * slot);
                    var back = new byte[slot];
                    Assert.Equal(slot, RandomAccess.Read(file, back, writer * slot));
                    Assert.True(back.AsSpan().SequenceEqual(bytes), $"writer {writer} round {round}");
                }
            },
            CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default)));
    }

    [Fact]
    public async Task A_write_through_one_view_is_seen_through_the_other_at_once()
    {
        var device = RandomBytes.Device(4 * Megabyte);
        var part = new WindowDevice(device, Megabyte, 2 * Megabyte, ownsInner: false);
        await using var files = await MountedFiles.StartAsync([new VirtualFile("disk.raw", device), new VirtualFile("p1.raw", part)]);
        using var disk = File.OpenHandle(files["disk.raw"], FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        using var p1 = File.OpenHandle(files["p1.raw"], FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        var seen = new byte[5000];
        for (var round = 0; round < 20; round++)
        {
            var bytes = RandomBytes.Of(seen.Length, round);
            var (to, from) = round % 2 == 0 ? (disk, p1) : (p1, disk);
            RandomAccess.Write(to, bytes, round % 2 == 0 ? Megabyte + 100 : 100);
            Assert.Equal(seen.Length, RandomAccess.Read(from, seen, round % 2 == 0 ? 100 : Megabyte + 100));
            Assert.Equal(bytes, seen);
        }
    }

    [Fact]
    public async Task A_read_only_device_refuses_writers_when_they_open()
    {
        var device = RandomBytes.Device(Megabyte, readOnly: true);
        var before = device.Bytes.ToArray();
        await using var files = await MountedFiles.StartAsync([new VirtualFile("disk.raw", device), new VirtualFile("scratch.raw", new MemoryDevice(4096))]);
        var result = await Peer.RunAsync("dd", ["if=/dev/zero", $"of={files["disk.raw"]}", "bs=4096", "count=1", "conv=notrunc"]);
        Assert.Equal(1, result.ExitCode);
        Assert.Contains("Read-only file system", result.Error, StringComparison.Ordinal);
        Assert.Equal(before, device.Bytes);
    }

    [Fact]
    public async Task A_mount_of_read_only_files_is_mounted_read_only()
    {
        await using var files = await MountedFiles.StartAsync(RandomBytes.Device(Megabyte, readOnly: true));
        Assert.Contains("ro", (await Peer.RunOkAsync("findmnt", "-no", "OPTIONS", files.Mount.MountDirectory)).Trim().Split(','));
    }

    [Fact]
    public async Task Size_mode_owner_and_names_cannot_be_changed()
    {
        var device = RandomBytes.Device(Megabyte);
        var before = device.Bytes.ToArray();
        await using var files = await MountedFiles.StartAsync(device);
        var disk = files["disk.raw"];
        string[][] attempts =
        [
            ["truncate", "-s", "0", disk], ["truncate", "-s", "2M", disk], ["dd", "if=/dev/zero", $"of={disk}", "count=1"], ["chmod", "777", disk],
            ["chown", "1", disk], ["rm", "-f", disk], ["mv", disk, files["other"]], ["touch", files["new"]], ["mkdir", files["folder"]],
            ["ln", "-s", "x", files["link"]], ["ln", disk, files["hard"]], ["mkfifo", files["pipe"]], ["fallocate", "-l", "2M", disk],
            ["fallocate", "-c", "-l", "4096", disk],
        ];
        foreach (var attempt in attempts)
        {
            Assert.True((await Peer.RunAsync(attempt[0], attempt[1..])).ExitCode != 0, string.Join(' ', attempt));
        }

        Assert.Equal([disk], Directory.GetFileSystemEntries(files.Mount.MountDirectory));
        Assert.Equal(before, device.Bytes);
        Assert.Equal(Megabyte, new FileInfo(disk).Length);

        // What changes nothing is allowed: the same size, and times, which are not kept.
        await Peer.RunOkAsync("truncate", "-s", $"{Megabyte}", disk);
        await Peer.RunOkAsync("touch", disk);
    }

    [Theory]
    [InlineData(Megabyte, 512)]
    [InlineData(Megabyte - 100, 512)]
    [InlineData(1L << 40, 512)]
    public async Task A_write_past_the_end_writes_nothing_and_says_no_space(long offset, int count)
    {
        var device = RandomBytes.Device(Megabyte);
        var before = device.Bytes.ToArray();
        await using var files = await MountedFiles.StartAsync(device);
        using var file = File.OpenHandle(files["disk.raw"], FileMode.Open, FileAccess.ReadWrite);
        var error = Assert.Throws<IOException>(() => RandomAccess.Write(file, new byte[count], offset));
        Assert.Contains("No space left", error.Message, StringComparison.OrdinalIgnoreCase);
        Assert.Equal(before, device.Bytes);
    }

    [Fact]
    public async Task A_punched_hole_reads_as_zeros_and_reaches_the_device()
    {
        var device = new FaultyDevice(Megabyte);
        device.Bytes.AsSpan().Fill(9);
        await using var files = await MountedFiles.StartAsync(device);
        await Peer.RunOkAsync("fallocate", "--punch-hole", "-o", "1000", "-l", "5000", files["disk.raw"]);
        await Peer.RunOkAsync("fallocate", "--zero-range", "-o", "10000", "-l", "96", files["disk.raw"]);
        await Peer.RunOkAsync("fallocate", "--punch-hole", "-o", "1048000", "-l", "5000", files["disk.raw"]);
        Assert.Equal(3, device.Zeroes);
        var expected = new byte[Megabyte];
        expected.AsSpan().Fill(9);
        expected.AsSpan(1000, 5000).Clear();
        expected.AsSpan(10000, 96).Clear();
        expected.AsSpan(1048000).Clear();
        Assert.Equal(expected, device.Bytes);
    }

    [Fact]
    public async Task Fsync_flushes_the_device_and_reports_its_failure()
    {
        var device = new FaultyDevice(Megabyte);
        await using var files = await MountedFiles.StartAsync(device);
        await Peer.RunOkAsync("dd", "if=/dev/zero", $"of={files["disk.raw"]}", "bs=4096", "count=1", "conv=notrunc,fsync");
        Assert.Equal(1, device.Flushes);
        device.Failure = (operation, _, _) => operation == "flush" ? FaultyDevice.Io("flush") : null;
        var result = await Peer.RunAsync("dd", ["if=/dev/zero", $"of={files["disk.raw"]}", "bs=4096", "count=1", "conv=notrunc,fsync"]);
        Assert.Equal(1, result.ExitCode);
        Assert.Contains("Input/output error", result.Error, StringComparison.Ordinal);
        device.Failure = (_, _, _) => null;
    }

    [Fact]
    public async Task A_misaligned_write_to_a_device_with_sectors_is_refused_whole()
    {
        var device = new MemoryDevice(Megabyte, alignment: 4096);
        await using var files = await MountedFiles.StartAsync(device);
        using var file = File.OpenHandle(files["disk.raw"], FileMode.Open, FileAccess.ReadWrite);
        RandomAccess.Write(file, RandomBytes.Of(8192, 1), 4096);
        Assert.ThrowsAny<Exception>(() => RandomAccess.Write(file, RandomBytes.Of(512, 2), 4096));
        Assert.Equal(RandomBytes.Of(8192, 1), device.Bytes[4096..12288]);
        Assert.False(device.Bytes.AsSpan(12288).ContainsAnyExcept((byte)0));
    }
}
