using BlockMount.Attach.Host;
using BlockMount.Attach.Loop;
using BlockMount.Core.Errors;
using BlockMount.TestSupport;

namespace BlockMount.Attach.Tests;

public sealed class LoopDeviceTests
{
    private const int Megabyte = 1 << 20;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_loop_device_over_the_file_reads_and_writes_the_device(bool direct)
    {
        Peer.Require("losetup", "mount");
        var device = RandomBytes.Device(8 * Megabyte);
        using var folder = new TempFolder();
        await using var files = await MountedFiles.StartAsync(device);
        await using var loop = await LoopDevice.AttachAsync(files["disk.raw"], isReadOnly: false, 512, direct, HostProgram.RunAsync, CancellationToken.None);
        Assert.Equal(direct, loop.IsDirect);
        await Peer.RunOkAsync("dd", $"if={loop.Device}", $"of={folder["copy"]}", "bs=1M");
        Assert.Equal(device.Bytes, await File.ReadAllBytesAsync(folder["copy"]));

        var bytes = RandomBytes.Of(2 * Megabyte, 77);
        await File.WriteAllBytesAsync(folder["new"], bytes);
        await Peer.RunOkAsync("dd", $"if={folder["new"]}", $"of={loop.Device}", "bs=64k", "seek=16", "conv=fsync");
        Assert.Equal(bytes, device.Bytes[Megabyte..(3 * Megabyte)]);
        Assert.True(device.Flushes > 0);
    }

    [Fact]
    public async Task Blkdiscard_reaches_the_device_and_the_bytes_read_zero()
    {
        Peer.Require("blkdiscard", "util-linux");
        var device = new FaultyDevice(8 * Megabyte);
        device.Bytes.AsSpan().Fill(3);
        await using var files = await MountedFiles.StartAsync(device);
        await using var loop = await LoopDevice.AttachAsync(files["disk.raw"], isReadOnly: false);
        await Peer.RunOkAsync("blkdiscard", "-o", $"{Megabyte}", "-l", $"{Megabyte}", loop.Device);
        await Peer.RunOkAsync("blkdiscard", "-z", "-o", $"{4 * Megabyte}", "-l", $"{Megabyte}", loop.Device);
        Assert.True(device.Zeroes >= 2);
        var expected = new byte[8 * Megabyte];
        expected.AsSpan().Fill(3);
        expected.AsSpan(Megabyte, Megabyte).Clear();
        expected.AsSpan(4 * Megabyte, Megabyte).Clear();
        Assert.True(device.Bytes.AsSpan().SequenceEqual(expected));
    }

    [Fact]
    public async Task A_read_only_file_gives_a_read_only_loop_device()
    {
        Peer.Require("losetup", "mount");
        await using var files = await MountedFiles.StartAsync(RandomBytes.Device(Megabyte, readOnly: true));
        await using var loop = await LoopDevice.AttachAsync(files["disk.raw"], isReadOnly: true);
        Assert.Equal("1", (await Peer.RunOkAsync("blockdev", "--getro", loop.Device)).Trim());
        Assert.NotEqual(0, (await Peer.RunAsync("dd", ["if=/dev/zero", $"of={loop.Device}", "count=8"])).ExitCode);
    }

    [Fact]
    public async Task A_device_with_large_sectors_gives_a_loop_device_with_large_sectors()
    {
        Peer.Require("losetup", "mount");
        await using var files = await MountedFiles.StartAsync(RandomBytes.Device(4 * Megabyte, alignment: 4096));
        await using var loop = await LoopDevice.AttachAsync(files["disk.raw"], isReadOnly: false, sectorSize: 4096);
        Assert.Equal("4096", (await Peer.RunOkAsync("blockdev", "--getss", loop.Device)).Trim());
    }

    [Fact]
    public async Task A_failed_read_of_the_device_fails_on_the_loop_device()
    {
        Peer.Require("losetup", "mount");
        var device = new FaultyDevice(4 * Megabyte) { Failure = (operation, offset, _) => operation == "read" && offset >= 2 * Megabyte ? FaultyDevice.Io("read") : null };
        await using var files = await MountedFiles.StartAsync(device);
        await using var loop = await LoopDevice.AttachAsync(files["disk.raw"], isReadOnly: true);
        var result = await Peer.RunAsync("dd", [$"if={loop.Device}", "of=/dev/null", "bs=1M"]);
        Assert.Equal(1, result.ExitCode);
        Assert.Contains("Input/output error", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Direct_io_is_given_up_when_the_host_refuses_it()
    {
        Peer.Require("losetup", "mount");
        await using var files = await MountedFiles.StartAsync(RandomBytes.Device(Megabyte));
        var refused = 0;
        await using var loop = await LoopDevice.AttachAsync(files["disk.raw"], isReadOnly: true, 512, direct: true, RefuseDirect, CancellationToken.None);
        Assert.Equal(1, refused);
        Assert.False(loop.IsDirect);

        Task<ProgramResult> RefuseDirect(string program, IReadOnlyList<string> arguments, CancellationToken cancellationToken)
        {
            if (!arguments.Contains("--direct-io=on"))
            {
                return HostProgram.RunAsync(program, arguments, cancellationToken);
            }

            refused++;
            return Task.FromResult(new ProgramResult(1, "", "losetup: Invalid argument"));
        }
    }

    [Fact]
    public async Task Detaching_waits_until_the_file_is_free_and_may_be_repeated()
    {
        Peer.Require("losetup", "mount");
        await using var files = await MountedFiles.StartAsync(RandomBytes.Device(Megabyte));
        var loop = await LoopDevice.AttachAsync(files["disk.raw"], isReadOnly: false);
        Assert.Equal(files["disk.raw"], LoopTable.BackingFileOf(loop.Device));
        await loop.DetachAsync();
        Assert.NotEqual(files["disk.raw"], LoopTable.BackingFileOf(loop.Device));
        await loop.DetachAsync();
        await files.Mount.UnmountAsync();
    }

    [Fact]
    public async Task A_file_that_cannot_be_attached_is_an_error_with_losetups_sentence()
    {
        Peer.RequireRoot();
        Peer.Require("losetup", "mount");
        using var folder = new TempFolder();
        var error = await Assert.ThrowsAsync<DiskException>(() => LoopDevice.AttachAsync(folder["none"], isReadOnly: true));
        Assert.Equal(ErrorKind.Io, error.Kind);
        Assert.Contains("No such file", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Sectors_that_no_loop_device_has_are_refused()
    {
        var error = await Assert.ThrowsAsync<DiskException>(() => LoopDevice.AttachAsync("/x", isReadOnly: true, sectorSize: 8192));
        Assert.Equal(ErrorKind.InvalidArgument, error.Kind);
    }

    [Fact]
    public async Task A_missing_program_names_its_package()
    {
        var error = await Assert.ThrowsAsync<DiskException>(() => HostProgram.RunAsync("no-such-tool", [], CancellationToken.None));
        Assert.Equal(ErrorKind.HostLacks, error.Kind);
        Assert.Contains("install the package no-such-tool", error.Message, StringComparison.Ordinal);
    }
}
