using System.Diagnostics;
using BlockMount.Attach.Fuse;
using BlockMount.Attach.Host;
using BlockMount.Core.Errors;
using BlockMount.TestSupport;

namespace BlockMount.Attach.Tests;

public sealed class FuseUnmountTests
{
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(30);

    [Theory]
    [InlineData("umount")]
    [InlineData("fusermount3", "-u")]
    public async Task Unmounting_from_outside_ends_the_mount_and_flushes(params string[] command)
    {
        var device = new FaultyDevice(1 << 20);
        await using var files = await MountedFiles.StartAsync(device);
        Assert.False(files.Mount.Completion.IsCompleted);
        await Peer.RunOkAsync(command[0], [.. command[1..], files.Mount.MountDirectory]);
        await files.Mount.Completion.WaitAsync(Deadline);
        Assert.Equal(1, device.Flushes);
    }

    [Fact]
    public async Task A_busy_mount_is_not_taken_away_and_the_user_is_named()
    {
        await using var files = await MountedFiles.StartAsync(RandomBytes.Device(1 << 20));
        using (File.OpenHandle(files["disk.raw"]))
        {
            var error = await Assert.ThrowsAsync<DiskException>(() => files.Mount.UnmountAsync());
            Assert.Equal(ErrorKind.Busy, error.Kind);
            Assert.Contains($"process {Environment.ProcessId} (", error.Message, StringComparison.Ordinal);
            Assert.NotNull(MountTable.At(files.Mount.MountDirectory));
            Assert.False(files.Mount.Completion.IsCompleted);
        }

        await files.Mount.UnmountAsync();
        Assert.True(files.Mount.Completion.IsCompletedSuccessfully);
        Assert.Null(MountTable.At(files.Mount.MountDirectory));
    }

    [Fact]
    public async Task A_lazy_unmount_serves_who_is_still_reading_and_ends_after_them()
    {
        var device = RandomBytes.Device(1 << 20);
        await using var files = await MountedFiles.StartAsync(device);
        var file = File.OpenHandle(files["disk.raw"]);
        await files.Mount.UnmountAsync(lazy: true);
        Assert.Null(MountTable.At(files.Mount.MountDirectory));
        var bytes = new byte[4096];
        Assert.Equal(4096, RandomAccess.Read(file, bytes, 8192));
        Assert.Equal(device.Bytes[8192..12288], bytes);
        Assert.False(files.Mount.Completion.IsCompleted);
        file.Dispose();
        await files.Mount.Completion.WaitAsync(Deadline);
    }

    [Fact]
    public async Task Another_mount_at_the_same_place_is_never_taken_away()
    {
        await using var files = await MountedFiles.StartAsync(RandomBytes.Device(1 << 20));
        await Peer.RunOkAsync("mount", "-t", "tmpfs", "other", files.Mount.MountDirectory);
        try
        {
            var error = await Assert.ThrowsAsync<DiskException>(() => files.Mount.UnmountAsync());
            Assert.Equal(ErrorKind.Busy, error.Kind);
            Assert.Contains("tmpfs from other is mounted over it", error.Message, StringComparison.Ordinal);
        }
        finally
        {
            await Peer.RunOkAsync("umount", files.Mount.MountDirectory);
        }

        await files.Mount.UnmountAsync();
        await Peer.RunOkAsync("mount", "-t", "tmpfs", "other", files.Mount.MountDirectory);
        try
        {
            await files.Mount.UnmountAsync();
            Assert.Equal("tmpfs", MountTable.At(files.Mount.MountDirectory)?.Type);
        }
        finally
        {
            await Peer.RunOkAsync("umount", files.Mount.MountDirectory);
        }
    }

    [Fact]
    public async Task A_request_under_way_is_answered_before_the_mount_ends()
    {
        var device = new FaultyDevice(1 << 20) { Delay = TimeSpan.FromMilliseconds(300) };
        device.Bytes.AsSpan().Fill(5);
        await using var files = await MountedFiles.StartAsync(device);
        using var reader = Process.Start(new ProcessStartInfo("head", ["-c", "4096", files["disk.raw"]]) { RedirectStandardOutput = true, UseShellExecute = false })!;
        await Task.Delay(100);
        await files.Mount.UnmountAsync(lazy: true);
        var text = await reader.StandardOutput.ReadToEndAsync();
        await files.Mount.Completion.WaitAsync(Deadline);
        Assert.Equal(new string('\u0005', 4096), text);
    }

    [Theory]
    [InlineData("missing", ErrorKind.NotFound, "does not exist")]
    [InlineData("full", ErrorKind.InvalidArgument, "it holds something")]
    [InlineData("file", ErrorKind.InvalidArgument, "is a file")]
    public async Task A_directory_that_cannot_be_mounted_on_is_explained(string name, ErrorKind kind, string sentence)
    {
        Peer.RequireFuse();
        using var folder = new TempFolder();
        Directory.CreateDirectory(folder["full/something"]);
        await File.WriteAllTextAsync(folder["file"], "x");
        var error = await Assert.ThrowsAsync<DiskException>(() => FuseMount.StartAsync(folder[name], [new VirtualFile("disk.raw", RandomBytes.Device(512))]));
        Assert.Equal(kind, error.Kind);
        Assert.Contains(sentence, error.Message, StringComparison.Ordinal);
        Assert.Contains(folder[name], error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_directory_that_is_mounted_on_already_is_refused()
    {
        await using var files = await MountedFiles.StartAsync(RandomBytes.Device(512));
        var error = await Assert.ThrowsAsync<DiskException>(() => FuseMount.StartAsync(files.Mount.MountDirectory, [new VirtualFile("disk.raw", RandomBytes.Device(512))]));
        Assert.Equal(ErrorKind.Busy, error.Kind);
        Assert.Contains("fuse.blockmount from blockmount is mounted there already", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("")]
    [InlineData("..")]
    [InlineData("a/b")]
    [InlineData("a\0b")]
    public void A_name_that_is_no_file_name_is_refused(string name)
    {
        var error = Assert.Throws<DiskException>(() => new VirtualFile(name, ReadOnlyMemory<byte>.Empty));
        Assert.Equal(ErrorKind.InvalidArgument, error.Kind);
    }

    [Fact]
    public async Task Two_files_of_one_name_are_refused()
    {
        Peer.RequireFuse();
        using var folder = new TempFolder();
        var error = await Assert.ThrowsAsync<DiskException>(
            () => FuseMount.StartAsync(folder.Root, [new VirtualFile("a", ReadOnlyMemory<byte>.Empty), new VirtualFile("a", ReadOnlyMemory<byte>.Empty)]));
        Assert.Equal(ErrorKind.InvalidArgument, error.Kind);
    }

    [Fact]
    public async Task A_folder_with_a_blank_and_a_link_in_its_path_is_mounted_on_and_off()
    {
        Peer.RequireFuse();
        Peer.RequireRoot();
        using var folder = new TempFolder();
        Directory.CreateDirectory(folder["a b\\c"]);
        Directory.CreateSymbolicLink(folder["link"], folder["a b\\c"]);
        var mount = await FuseMount.StartAsync(folder["link"], [new VirtualFile("x", "y"u8.ToArray())]);
        try
        {
            Assert.Equal("y", await File.ReadAllTextAsync(folder["a b\\c/x"]));
        }
        finally
        {
            await mount.UnmountAsync(lazy: true);
        }

        await mount.Completion.WaitAsync(Deadline);
        Assert.Empty(Directory.GetFileSystemEntries(folder["a b\\c"]));
    }
}
