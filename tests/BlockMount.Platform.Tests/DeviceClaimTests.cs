using System.Diagnostics;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;

namespace BlockMount.Platform.Tests;

/// <summary>Who may write to a disk and its partitions at the same time, and what a refusal says. Needs root and loop devices.</summary>
public sealed class DeviceClaimTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task A_mounted_partition_keeps_writers_from_itself_and_the_disk_and_from_nothing_else()
    {
        Peer.Require("mkfs.ext4", "e2fsprogs");
        using var disk = await PartitionedLoop.CreateAsync(_folder["backing"]);
        await Peer.RunOkAsync("mkfs.ext4", "-q", disk.First);
        using (await TestMount.FileSystemAsync(disk.First, _folder["a place"]))
        {
            foreach (var path in new[] { disk.Path, disk.First })
            {
                var error = await RefusedAsync(path);
                Assert.Equal(
                    $"{path}: cannot be opened for writing: {disk.First} is mounted on {_folder["a place"]}; unmount it or add --read-only.", error.Message);
            }

            await using (var second = await Stores.OpenDeviceAsync(disk.Second, StoreAccess.Write))
            {
                Assert.True(second.CanWrite);
                Assert.StartsWith($"{disk.Path}: cannot be opened for writing: {disk.First} is mounted on ", (await RefusedAsync(disk.Path)).Message, StringComparison.Ordinal);
            }

            await using var reader = await Stores.OpenDeviceAsync(disk.Path, StoreAccess.Read);
            Assert.Equal(new byte[] { 0x55, 0xaa }, await Stores.ReadAsync(reader, 510, 2));
            Assert.Equal([$"{disk.First} is mounted on {_folder["a place"]}"], Stores.Provider.DescribeDevice(disk.Path)!.Users);
            Assert.Equal([$"{disk.First} is mounted on {_folder["a place"]}"], Stores.Provider.DescribeDevice(disk.First)!.Users);
            Assert.Empty(Stores.Provider.DescribeDevice(disk.Second)!.Users);
        }

        await using var writer = await Stores.OpenDeviceAsync(disk.Path, StoreAccess.Write);
        var mount = await Peer.RunAsync("mount", [disk.First, _folder["a place"]]);
        Assert.NotEqual(0, mount.ExitCode);
        Assert.StartsWith($"{disk.First}: cannot be opened for writing: {disk.Path} is in use by this process, pid {Environment.ProcessId};", (await RefusedAsync(disk.First)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Another_program_that_claimed_the_device_is_named()
    {
        Peer.Require("python3", "python3");
        using var disk = await PartitionedLoop.CreateAsync(_folder["backing"]);
        using var holder = Process.Start(new ProcessStartInfo("/usr/bin/python3", [
            "-c", "import os, sys; fd = os.open(sys.argv[1], os.O_RDONLY | os.O_EXCL); print('held', flush=True); sys.stdin.read()", disk.Second])
        {
            UseShellExecute = false, RedirectStandardInput = true, RedirectStandardOutput = true,
        })!;
        try
        {
            Assert.Equal("held", await holder.StandardOutput.ReadLineAsync());
            foreach (var path in new[] { disk.Path, disk.Second })
            {
                var error = await RefusedAsync(path);
                Assert.StartsWith($"{path}: cannot be opened for writing: {disk.Second} is in use by python3", error.Message, StringComparison.Ordinal);
                Assert.EndsWith($", pid {holder.Id}; end that or add --read-only.", error.Message, StringComparison.Ordinal);
            }

            await using var first = await Stores.OpenDeviceAsync(disk.First, StoreAccess.Write);
            Assert.True(first.CanWrite);
        }
        finally
        {
            holder.StandardInput.Close();
            await holder.WaitForExitAsync();
        }
    }

    [Fact]
    public async Task Several_users_are_named_up_to_three()
    {
        Peer.Require("mkfs.ext4", "e2fsprogs");
        using var disk = await PartitionedLoop.CreateAsync(_folder["backing"], partitions: 5);
        var mounts = new List<TestMount>();
        try
        {
            for (var i = 1; i <= 5; i++)
            {
                await Peer.RunOkAsync("mkfs.ext4", "-q", disk[i]);
                mounts.Add(await TestMount.FileSystemAsync(disk[i], _folder[$"m{i}"]));
            }

            var users = string.Join(", ", Enumerable.Range(1, 3).Select(i => $"{disk[i]} is mounted on {_folder[$"m{i}"]}"));
            Assert.Equal($"{disk.Path}: cannot be opened for writing: {users} and 2 more; unmount it or add --read-only.", (await RefusedAsync(disk.Path)).Message);
        }
        finally
        {
            mounts.ForEach(static m => m.Dispose());
        }
    }

    [Fact]
    public async Task A_swap_partition_is_refused_as_one()
    {
        Peer.Require("mkswap", "util-linux");
        using var disk = await PartitionedLoop.CreateAsync(_folder["backing"]);
        await Peer.RunOkAsync("mkswap", disk.Second);
        var swap = await Peer.RunAsync("swapon", [disk.Second]);
        Peer.Require(swap.ExitCode == 0 || !swap.Error.Contains("not permitted", StringComparison.Ordinal), "this host has no swap");
        Assert.Equal((0, ""), (swap.ExitCode, swap.Error));
        try
        {
            var error = await RefusedAsync(disk.Second);
            Assert.Equal($"{disk.Second}: cannot be opened for writing: {disk.Second} is swapped on; turn the swap off (swapoff) or add --read-only.", error.Message);
            Assert.Equal([$"{disk.Second} is swapped on"], Stores.Provider.DescribeDevice(disk.Path)!.Users);
        }
        finally
        {
            await Peer.RunOkAsync("swapoff", disk.Second);
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_read_only_device_is_refused_before_the_first_write(bool isLoopReadOnly)
    {
        await File.WriteAllBytesAsync(_folder["backing"], Stores.Noise(1 << 20));
        using var loop = await TestMount.LoopAsync(_folder["backing"], isLoopReadOnly ? ["--read-only"] : []);
        if (!isLoopReadOnly)
        {
            await Peer.RunOkAsync("blockdev", "--setro", loop.Path);
        }

        try
        {
            var error = await Stores.OpenFailsAsync(ErrorKind.AccessDenied, loop.Path, StoreAccess.Write, StoreOpenOptions.AllowDevice);
            Assert.Equal($"{loop.Path}: cannot be opened for writing: the device is read-only; add --read-only to open it for reading.", error.Message);
            Assert.True(Stores.Provider.DescribeDevice(loop.Path)!.IsReadOnly);
            await using var reader = await Stores.OpenDeviceAsync(loop.Path, StoreAccess.Read);
            Assert.Equal(Stores.Noise(1 << 20), await Stores.ReadAsync(reader, 0, 1 << 20));
        }
        finally
        {
            await Peer.RunOkAsync("blockdev", "--setrw", loop.Path);
        }
    }

    [Fact]
    public async Task A_device_that_a_loop_device_shows_is_held_by_it()
    {
        await File.WriteAllBytesAsync(_folder["backing"], new byte[1 << 20]);
        using var lower = await TestMount.LoopAsync(_folder["backing"]);
        using var upper = await TestMount.LoopAsync(lower.Path);
        Assert.Equal([$"{lower.Path} is what {upper.Path} shows"], Stores.Provider.DescribeDevice(lower.Path)!.Users);
    }

    private static Task<DiskException> RefusedAsync(string path) =>
        Stores.OpenFailsAsync(ErrorKind.Busy, path, StoreAccess.Write, StoreOpenOptions.AllowDevice);
}
