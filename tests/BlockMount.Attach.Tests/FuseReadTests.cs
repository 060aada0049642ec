using System.Security.Cryptography;
using BlockMount.Attach.Fuse;
using BlockMount.TestSupport;

namespace BlockMount.Attach.Tests;

public sealed class FuseReadTests
{
    private const int Megabyte = 1 << 20;

    [Fact]
    public async Task The_file_has_the_bytes_of_the_device()
    {
        var device = RandomBytes.Device((8 * Megabyte) + 12345);
        await using var files = await MountedFiles.StartAsync(device);
        var sum = await Peer.RunOkAsync("sha256sum", files["disk.raw"]);
        Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(device.Bytes)), sum.Split(' ')[0]);
    }

    [Fact]
    public async Task A_copy_of_the_file_is_the_device()
    {
        var device = RandomBytes.Device(5 * Megabyte);
        using var folder = new TempFolder();
        await using var files = await MountedFiles.StartAsync(device);
        await Peer.RunOkAsync("cp", files["disk.raw"], folder["copy"]);
        Assert.Equal(device.Bytes, await File.ReadAllBytesAsync(folder["copy"]));
    }

    [Fact]
    public async Task Reads_stop_at_the_end_and_nowhere_else()
    {
        var device = RandomBytes.Device(Megabyte + 1);
        await using var files = await MountedFiles.StartAsync(device);
        using var file = File.OpenHandle(files["disk.raw"]);
        var buffer = new byte[4096];
        Assert.Equal(1, RandomAccess.Read(file, buffer, Megabyte));
        Assert.Equal(device.Bytes[^1], buffer[0]);
        Assert.Equal(0, RandomAccess.Read(file, buffer, Megabyte + 1));
        Assert.Equal(0, RandomAccess.Read(file, buffer, 10L * Megabyte));
    }

    [Fact]
    public async Task A_device_with_sectors_can_be_read_at_any_byte()
    {
        var device = RandomBytes.Device(Megabyte, readOnly: true, alignment: 4096);
        await using var files = await MountedFiles.StartAsync(device);
        using var file = File.OpenHandle(files["disk.raw"]);
        var buffer = new byte[10000];
        Assert.Equal(buffer.Length, RandomAccess.Read(file, buffer, 4095));
        Assert.Equal(device.Bytes[4095..(4095 + buffer.Length)], buffer);
    }

    [Fact]
    public async Task The_directory_lists_every_file_with_its_size_and_mode()
    {
        var device = RandomBytes.Device(Megabyte);
        await using var files = await MountedFiles.StartAsync(
            [new VirtualFile("disk.raw", device), new VirtualFile("p1.raw", RandomBytes.Device(4096, readOnly: true)), new VirtualFile("info.json", "{}"u8.ToArray())]);
        var output = await Peer.RunOkAsync("find", files.Mount.MountDirectory, "-type", "f", "-printf", "%f %s %m %U\\n");
        Assert.Equal(["disk.raw 1048576 600 0", "info.json 2 400 0", "p1.raw 4096 400 0"], output.Trim().Split('\n').Order(StringComparer.Ordinal));
        Assert.Equal("{}", await File.ReadAllTextAsync(files["info.json"]));
    }

    [Fact]
    public async Task A_name_that_does_not_exist_is_not_found()
    {
        await using var files = await MountedFiles.StartAsync(RandomBytes.Device(4096));
        foreach (var name in new[] { "disk.ra", "disk.raw2", "p1.raw", "disk.raw/x" })
        {
            var result = await Peer.RunAsync("cat", [files[name]]);
            Assert.Equal(1, result.ExitCode);
            Assert.Matches("No such file or directory|Not a directory", result.Error);
        }
    }

    [Fact]
    public async Task A_directory_of_thousands_of_files_is_listed_whole()
    {
        var many = Enumerable.Range(0, 3000).Select(number => new VirtualFile($"a-rather-long-name-of-file-{number}", ReadOnlyMemory<byte>.Empty)).ToList();
        await using var files = await MountedFiles.StartAsync(many);
        Assert.Equal(many.Select(file => file.Name).Order(StringComparer.Ordinal), Directory.EnumerateFiles(files.Mount.MountDirectory).Select(Path.GetFileName).Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task A_private_mapping_reads_the_device()
    {
        Peer.Require("python3", "python3");
        var device = RandomBytes.Device(Megabyte);
        await using var files = await MountedFiles.StartAsync(device);
        const string script = "import mmap,sys,hashlib\nwith open(sys.argv[1],'rb') as f:\n m=mmap.mmap(f.fileno(),0,flags=mmap.MAP_PRIVATE,prot=mmap.PROT_READ)\n print(hashlib.sha256(m).hexdigest())";
        var sum = await Peer.RunOkAsync("python3", "-c", script, files["disk.raw"]);
        Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(device.Bytes)), sum.Trim());
    }

    [Fact]
    public async Task A_shared_mapping_is_refused_because_it_could_not_follow_other_writers()
    {
        Peer.Require("python3", "python3");
        await using var files = await MountedFiles.StartAsync(RandomBytes.Device(Megabyte));
        const string script = "import mmap,sys\nwith open(sys.argv[1],'rb') as f:\n mmap.mmap(f.fileno(),0,flags=mmap.MAP_SHARED,prot=mmap.PROT_READ)";
        var result = await Peer.RunAsync("python3", ["-c", script, files["disk.raw"]]);
        Assert.Equal(1, result.ExitCode);
        Assert.Contains("No such device", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Holes_and_data_are_told_apart()
    {
        var device = new MemoryDevice(4 * Megabyte);
        device.Bytes.AsSpan(Megabyte, 8192).Fill(7);
        await using var files = await MountedFiles.StartAsync(device);
        const string script = """
            import os,sys
            f=os.open(sys.argv[1],os.O_RDONLY)
            print(os.lseek(f,0,os.SEEK_DATA),os.lseek(f,0,os.SEEK_HOLE),os.lseek(f,1048576,os.SEEK_HOLE),os.lseek(f,1050000,os.SEEK_DATA))
            for whence,at in ((os.SEEK_DATA,2000000),(os.SEEK_DATA,4194304),(os.SEEK_HOLE,9999999)):
                try: print(os.lseek(f,at,whence))
                except OSError as e: print(e.errno)
            """;
        Peer.Require("python3", "python3");
        var output = await Peer.RunOkAsync("python3", "-c", script, files["disk.raw"]);
        Assert.Equal(["1048576 0 1056768 1050000", "6", "6", "6"], output.Trim().Split('\n'));
    }
}
