using BlockMount.TestSupport;

namespace BlockMount.Host.Tests.RawDisks;

/// <summary>A loop device that stands in for a disk: a partition table, and a node for each partition. Root only; released with the test.</summary>
internal sealed class LoopDisk : IAsyncDisposable
{
    private const int MiB = 1 << 20;

    private LoopDisk(string path, string file) => (Path, File) = (path, file);

    /// <summary>The node of the whole disk.</summary>
    public string Path { get; }

    /// <summary>The file behind it.</summary>
    public string File { get; }

    /// <param name="file">Made here, of noise.</param>
    /// <param name="megabytes">Size.</param>
    /// <param name="script">For sfdisk.</param>
    /// <param name="sector">Bytes of a logical sector.</param>
    public static async Task<LoopDisk> CreateAsync(string file, int megabytes, string script, int sector = 512)
    {
        Peer.RequireRoot();
        Peer.Require("losetup", "mount");
        Peer.Require("sfdisk", "fdisk");
        Peer.Require("partx", "util-linux");
        Peer.Require(System.IO.File.Exists("/dev/loop-control"), "the kernel has no loop devices; modprobe loop");
        await FillAsync(file, megabytes);
        var path = (await Peer.RunOkAsync("losetup", "--find", "--show", "--sector-size", $"{sector}", file)).Trim();
        var disk = new LoopDisk(path, file);
        try
        {
            var made = await Peer.RunAsync("sfdisk", ["--quiet", "--no-reread", "--no-tell-kernel", "--wipe", "always", path], script);
            Assert.True(made.ExitCode == 0, made.Error);
            await disk.RescanAsync();
            return disk;
        }
        catch
        {
            await disk.DisposeAsync();
            throw;
        }
    }

    public string Node(int partition) => $"{Path}p{partition}";

    /// <summary>Makes the kernel's partitions those of the table.</summary>
    public Task RescanAsync() => Peer.RunOkAsync("partx", "--update", Path);

    public Task MakeFileSystemAsync(int partition) => Peer.RunOkAsync("mkfs.ext4", "-q", "-F", Node(partition));

    public Task CheckFileSystemAsync(int partition) => Peer.RunOkAsync("e2fsck", "-f", "-n", Node(partition));

    /// <summary>What is on the disk now, by the system's own tool, past every cache.</summary>
    public async Task<string> Sha256Async(long start, long length)
    {
        await Peer.RunOkAsync("blockdev", "--flushbufs", Path);
        return await Blockmount.Sha256OfAsync($"dd if={File} iflag=skip_bytes,count_bytes bs=1M skip={start} count={length} status=none");
    }

    public async ValueTask DisposeAsync()
    {
        await Peer.RunAsync("partx", ["--delete", Path]);
        await Peer.RunOkAsync("losetup", "--detach", Path);
    }

    private static async Task FillAsync(string file, int megabytes)
    {
        await using var stream = System.IO.File.Create(file);
        var noise = new byte[MiB];
        var random = new Random(megabytes);
        for (var i = 0; i < megabytes; i++)
        {
            random.NextBytes(noise);
            await stream.WriteAsync(noise);
        }
    }
}
