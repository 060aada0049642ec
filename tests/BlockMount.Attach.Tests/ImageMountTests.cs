using BlockMount.Attach.Fuse;
using BlockMount.Attach.Host;
using BlockMount.Attach.Images;
using BlockMount.Attach.Roads;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.TestSupport;

namespace BlockMount.Attach.Tests;

public sealed class ImageMountTests
{
    private const int PartSize = 32 << 20;
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(30);
    private static readonly ImagePartition First = new(1, 1 << 20, PartSize, "ext4");
    private static readonly ImagePartition Second = new(2, (1 << 20) + PartSize, PartSize, "ext4");

    [Fact]
    public async Task The_only_file_system_is_mounted_writable_and_what_was_written_is_in_the_device()
    {
        using var folder = new TempFolder();
        var device = await DiskAsync(folder, First);
        await using (var mount = await StartAsync(folder, device, [First, Second with { FileSystem = null }]))
        {
            var thing = Assert.Single(mount.Mounted);
            Assert.Equal(new MountedThing(folder["dir"], "ext4", 1, thing.Device, IsReadOnly: false), thing);
            await File.WriteAllTextAsync(folder["dir/hello"], "world");
        }

        Assert.True(device.Flushes > 0);
        AssertAllGone(folder);
        await using (await StartAsync(folder, device, [First], readOnly: true))
        {
            Assert.Equal("world", await File.ReadAllTextAsync(folder["dir/hello"]));
            Assert.ThrowsAny<IOException>(() => File.WriteAllText(folder["dir/other"], "x"));
        }

        AssertAllGone(folder);
    }

    [Fact]
    public async Task Several_file_systems_are_mounted_in_a_folder_each()
    {
        using var folder = new TempFolder();
        var device = await DiskAsync(folder, First, Second);
        await using (var mount = await StartAsync(folder, device, [First, Second]))
        {
            Assert.Equal([folder["dir/p1"], folder["dir/p2"]], mount.Mounted.Select(thing => thing.Directory));
            await File.WriteAllTextAsync(folder["dir/p1/one"], "1");
            await File.WriteAllTextAsync(folder["dir/p2/two"], "2");
        }

        AssertAllGone(folder);
        await using (await StartAsync(folder, device, [First, Second], choice: MountChoice.Partition(2)))
        {
            Assert.Equal("2", await File.ReadAllTextAsync(folder["dir/two"]));
        }
    }

    [Fact]
    public async Task Files_are_shown_when_asked_for_and_to_who_may_not_mount()
    {
        using var folder = new TempFolder();
        var device = await DiskAsync(folder, First);
        foreach (var (choice, isRoot) in new[] { (MountChoice.FilesOnly, true), (MountChoice.Auto, false) })
        {
            await using var mount = await StartAsync(folder, device, [First], choice: choice, isRoot: isRoot);
            Assert.Equal(new MountedThing(folder["dir"], null, null, null, IsReadOnly: false), Assert.Single(mount.Mounted));
            Assert.Equal(["disk.raw", "info.json", "p1.raw"], Directory.GetFiles(folder["dir"]).Select(Path.GetFileName).Order(StringComparer.Ordinal));
            Assert.Contains("shown as files", mount.Reason, StringComparison.Ordinal);
        }

        AssertAllGone(folder);
    }

    [Fact]
    public async Task A_file_system_this_host_cannot_mount_is_skipped_and_named()
    {
        using var folder = new TempFolder();
        var device = await DiskAsync(folder, First);
        var unknown = Second with { FileSystem = "nosuchfs" };
        await using (var mount = await StartAsync(folder, device, [First, unknown]))
        {
            Assert.Equal(1, Assert.Single(mount.Mounted).Partition);
            Assert.Contains("The nosuchfs file system of partition 2 is not mounted", mount.Reason, StringComparison.Ordinal);
            Assert.Equal([folder["dir/p1"]], Directory.GetDirectories(folder["dir"]));
        }

        await using (var mount = await StartAsync(folder, device, [unknown]))
        {
            Assert.Null(Assert.Single(mount.Mounted).FileSystem);
            Assert.Contains("nosuchfs", mount.Reason, StringComparison.Ordinal);
            Assert.True(File.Exists(folder["dir/p2.raw"]));
        }

        var error = await Assert.ThrowsAsync<DiskException>(() => StartAsync(folder, device, [First, unknown], choice: MountChoice.Partition(2)));
        Assert.Equal(ErrorKind.HostLacks, error.Kind);
        AssertAllGone(folder);
    }

    [Theory]
    [InlineData("losetup", 1)]
    [InlineData("losetup", 2)]
    [InlineData("mount", 1)]
    [InlineData("mount", 2)]
    public async Task A_step_that_fails_leaves_nothing_behind(string program, int call)
    {
        using var folder = new TempFolder();
        var device = await DiskAsync(folder, First, Second);
        var calls = 0;
        var error = await Assert.ThrowsAsync<DiskException>(() => StartAsync(folder, device, [First, Second], run: FailAsync));
        Assert.Contains("it was made to fail", error.Message, StringComparison.Ordinal);
        AssertAllGone(folder);

        Task<ProgramResult> FailAsync(string name, IReadOnlyList<string> arguments, CancellationToken cancellationToken)
        {
            // Attaching is tried again without direct I/O: that is the same call to fail.
            var isCounted = name == program && !arguments.Contains("--detach");
            calls += isCounted && !arguments.Contains("--direct-io=off") ? 1 : 0;
            return isCounted && calls == call
                ? Task.FromResult(new ProgramResult(32, "", "it was made to fail"))
                : HostProgram.RunAsync(name, arguments, cancellationToken);
        }
    }

    [Fact]
    public async Task A_busy_file_system_stays_mounted_whole_and_unmounts_later()
    {
        using var folder = new TempFolder();
        var device = await DiskAsync(folder, First);
        await using var mount = await StartAsync(folder, device, [First]);
        using (var held = File.Create(folder["dir/held"]))
        {
            var error = await Assert.ThrowsAsync<DiskException>(() => mount.UnmountAsync());
            Assert.Equal(ErrorKind.Busy, error.Kind);
            Assert.Contains($"process {Environment.ProcessId} (", error.Message, StringComparison.Ordinal);
            held.WriteByte(1);
            held.Flush(flushToDisk: true);
        }

        await mount.UnmountAsync();
        AssertAllGone(folder);
    }

    [Fact]
    public async Task Unmounting_the_file_system_from_outside_takes_the_rest_away()
    {
        using var folder = new TempFolder();
        var device = await DiskAsync(folder, First);
        await using var mount = await StartAsync(folder, device, [First]);
        await File.WriteAllTextAsync(folder["dir/x"], "y");
        await Peer.RunOkAsync("umount", folder["dir"]);
        await mount.Completion.WaitAsync(Deadline);
        AssertAllGone(folder);
        Assert.True(device.Flushes > 0);
    }

    [Fact]
    public async Task A_last_flush_that_fails_is_told_and_everything_is_gone()
    {
        using var folder = new TempFolder();
        var device = await DiskAsync(folder, First);
        var failing = new FailingFlush(device);
        var mount = await StartAsync(folder, failing, [First], readOnly: false, choice: MountChoice.FilesOnly);
        var error = await Assert.ThrowsAsync<DiskException>(() => mount.UnmountAsync());
        Assert.Contains("flush failed", error.Message, StringComparison.Ordinal);
        AssertAllGone(folder);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_road_that_does_not_come_up_is_left_for_the_next_one_which_is_said(bool onSecond)
    {
        using var folder = new TempFolder();
        var device = await DiskAsync(folder, First, Second);
        await using (var mount = await StartAsync(folder, device, [First, Second], readOnly: true, roads: Roads(onSecond)))
        {
            Assert.Equal(MountRoad.Loop, mount.Via);
            Assert.Contains("A broken road was not used: it is blocked.", mount.Reason, StringComparison.Ordinal);
            Assert.Equal(2, mount.Mounted.Count);
            Assert.True(Directory.Exists(folder["dir/p2/lost+found"]));
        }

        AssertAllGone(folder);
    }

    [Fact]
    public async Task Once_a_file_system_is_mounted_for_writing_no_other_road_is_taken()
    {
        using var folder = new TempFolder();
        var device = await DiskAsync(folder, First, Second);
        var error = await Assert.ThrowsAsync<DiskException>(() => StartAsync(folder, device, [First, Second], roads: Roads(onSecond: true)));
        Assert.Contains("it is blocked", error.Message, StringComparison.Ordinal);
        AssertAllGone(folder);
    }

    [Fact]
    public async Task A_road_that_is_asked_for_is_the_only_one_tried()
    {
        using var folder = new TempFolder();
        var device = await DiskAsync(folder, First);
        var error = await Assert.ThrowsAsync<DiskException>(() => StartAsync(folder, device, [First], roads: Roads(onSecond: false), via: MountRoad.Nbd));
        Assert.Equal("it is blocked.", error.Message);
        AssertAllGone(folder);
        await using (var mount = await StartAsync(folder, device, [First], roads: Roads(onSecond: false), via: MountRoad.Loop))
        {
            Assert.DoesNotContain("blocked", mount.Reason, StringComparison.Ordinal);
        }

        await using (var mount = await StartAsync(folder, device, [First], via: MountRoad.Files))
        {
            Assert.Equal(MountRoad.Files, mount.Via);
        }

        Assert.Equal(ErrorKind.AccessDenied, (await Assert.ThrowsAsync<DiskException>(() => StartAsync(folder, device, [First], via: MountRoad.Loop, isRoot: false))).Kind);
        Assert.Equal(ErrorKind.InvalidArgument, (await Assert.ThrowsAsync<DiskException>(() => StartAsync(folder, device, [], via: MountRoad.Loop))).Kind);
        AssertAllGone(folder);
    }

    [Fact]
    public async Task Without_loop_devices_the_files_are_shown_and_who_wants_a_partition_is_refused()
    {
        using var folder = new TempFolder();
        var device = await DiskAsync(folder, First);
        await using (var mount = await StartAsync(folder, device, [First], roads: OnlyBroken))
        {
            Assert.Equal(MountRoad.Files, mount.Via);
            Assert.Contains("it is blocked. Instead, the disk and its partitions are shown as files.", mount.Reason, StringComparison.Ordinal);
            Assert.True(File.Exists(folder["dir/p1.raw"]));
        }

        var error = await Assert.ThrowsAsync<DiskException>(() => StartAsync(folder, device, [First], roads: OnlyBroken, choice: MountChoice.Partition(1)));
        Assert.Equal(ErrorKind.HostLacks, error.Kind);
        AssertAllGone(folder);

        static IReadOnlyList<IDeviceRoad> OnlyBroken(ImageMountRequest request, IReadOnlyList<VirtualFile> files, MountSteps steps, ProgramRunner run) => [new BrokenRoad(null, ErrorKind.HostLacks)];
    }

    [Fact]
    public async Task A_mount_option_of_the_user_s_own_counts_and_a_refused_one_leaves_everything_untouched()
    {
        using var folder = new TempFolder();
        var device = await DiskAsync(folder, First);
        await using (await StartAsync(folder, device, [First], options: ["noatime", "commit=30"]))
        {
            var line = Assert.Single(await File.ReadAllLinesAsync("/proc/mounts"), l => l.Contains($" {folder["dir"]} ", StringComparison.Ordinal));
            Assert.Contains("noatime", line, StringComparison.Ordinal);
            Assert.Contains("commit=30", line, StringComparison.Ordinal);
            Assert.Contains("nosuid,nodev", line, StringComparison.Ordinal);
        }

        var before = device.Bytes.ToArray();
        var error = await Assert.ThrowsAsync<DiskException>(() => StartAsync(folder, device, [First], options: ["noload"]));
        Assert.Equal(ErrorKind.InvalidArgument, error.Kind);
        Assert.Equal("The mount option 'noload' is refused: writing to a file system whose journal was not replayed destroys it; it is for --read-only.", error.Message);
        Assert.True(device.Bytes.AsSpan().SequenceEqual(before));
        AssertAllGone(folder);
    }

    private static ImageMount.RoadsOf Roads(bool onSecond) => (request, files, steps, run) =>
        [new BrokenRoad(onSecond ? new LoopRoad(request, files, steps, run) : null), new LoopRoad(request, files, steps, run)];

    private static async Task<MemoryDevice> DiskAsync(TempFolder folder, params ImagePartition[] partitions)
    {
        Peer.RequireRoot();
        Peer.RequireFuse();
        Peer.Require("mkfs.ext4", "e2fsprogs");
        Directory.CreateDirectory(folder["dir"]);
        var device = new MemoryDevice((2 << 20) + (2 * PartSize));
        foreach (var partition in partitions)
        {
            var file = folder[$"mkfs{partition.Number}"];
            await Peer.RunOkAsync("truncate", "-s", $"{partition.Length}", file);
            await Peer.RunOkAsync("mkfs.ext4", "-q", file);
            (await File.ReadAllBytesAsync(file)).CopyTo(device.Bytes.AsSpan((int)partition.Start));
        }

        return device;
    }

    private static Task<ImageMount> StartAsync(
        TempFolder folder, BlockDevice device, ImagePartition[] partitions, bool readOnly = false, MountChoice choice = default, bool isRoot = true, ProgramRunner? run = null,
        ImageMount.RoadsOf? roads = null, MountRoad via = MountRoad.Auto, string[]? options = null) =>
        ImageMount.StartAsync(
            new ImageMountRequest
            {
                Device = device, Directory = folder["dir"], PrivateFolder = folder["private"], Partitions = partitions, IsReadOnly = readOnly, Choice = choice,
                Info = "{}"u8.ToArray(), JournalFile = folder["journal.mount"], Via = via, Options = options ?? [],
            },
            isRoot, run ?? HostProgram.RunAsync, roads ?? ImageMount.AllRoads, CancellationToken.None);

    private static void AssertAllGone(TempFolder folder)
    {
        Assert.DoesNotContain(MountTable.Read(), mount => mount.Directory.StartsWith(folder.Root, StringComparison.Ordinal));
        Assert.DoesNotContain(LoopTable.Read(), loop => loop.BackingFile.StartsWith(folder.Root, StringComparison.Ordinal));
        Assert.False(Directory.Exists(folder["private"]));
        Assert.False(File.Exists(folder["journal.mount"]));
        Assert.Empty(Directory.GetFileSystemEntries(folder["dir"]));
    }

    /// <summary>Leads nowhere, or to the first device only, which is another road's.</summary>
    private sealed class BrokenRoad(IDeviceRoad? inner, ErrorKind kind = ErrorKind.Io) : IDeviceRoad
    {
        private int _devices;

        public MountRoad Kind => MountRoad.Nbd;

        public string Name => "A broken road";

        public Task Completion => inner?.Completion ?? Task.CompletedTask;

        public Task StartAsync(CancellationToken cancellationToken) => inner?.StartAsync(cancellationToken) ?? throw Blocked();

        public Task<string> DeviceAsync(FileSystemTarget target, bool isReadOnly, CancellationToken cancellationToken) =>
            inner is not null && _devices++ == 0 ? inner.DeviceAsync(target, isReadOnly, cancellationToken) : throw Blocked();

        private DiskException Blocked() => new(kind, "it is blocked.");
    }

    private sealed class FailingFlush(BlockDevice inner) : FilterDevice(inner)
    {
        protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken) => throw new DiskException(ErrorKind.Io, "memory: flush failed.");
    }
}
