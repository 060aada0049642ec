using BlockMount.Attach.Images;
using BlockMount.Core.Errors;
using BlockMount.TestSupport;

namespace BlockMount.Attach.Tests;

public sealed class ImageMountPlanTests
{
    private static readonly ImagePartition Boot = new(1, 1 << 20, 1 << 20, "vfat");
    private static readonly ImagePartition Swap = new(2, 2 << 20, 1 << 20, null);
    private static readonly ImagePartition Root = new(5, 3 << 20, 1 << 20, "ext4");

    [Fact]
    public void The_only_file_system_is_mounted_on_the_directory_itself()
    {
        var plan = Plan([Swap, Root]);
        Assert.Equal([new FileSystemTarget("p5.raw", "ext4", 5, null)], plan.Targets);
        Assert.Equal("The ext4 file system of partition 5 is mounted.", plan.Reason);
    }

    [Fact]
    public void Several_file_systems_get_a_folder_each()
    {
        var plan = Plan([Boot, Swap, Root]);
        Assert.Equal([new FileSystemTarget("p1.raw", "vfat", 1, "p1"), new FileSystemTarget("p5.raw", "ext4", 5, "p5")], plan.Targets);
    }

    [Fact]
    public void A_chosen_partition_is_mounted_alone() =>
        Assert.Equal([new FileSystemTarget("p1.raw", "vfat", 1, null)], Plan([Boot, Root], choice: MountChoice.Partition(1)).Targets);

    [Fact]
    public void A_file_system_without_a_partition_table_is_mounted() =>
        Assert.Equal([new FileSystemTarget("disk.raw", "xfs", null, null)], Plan([], whole: "xfs").Targets);

    [Fact]
    public void Without_a_file_system_the_files_are_shown() =>
        Assert.Equal("No file system was recognised: the disk and its partitions are shown as files.", FilesReason(Plan([Swap])));

    [Fact]
    public void Who_may_not_mount_gets_the_files() =>
        Assert.Equal("Only root may mount file systems: the disk and its partitions are shown as files.", FilesReason(Plan([Root], isRoot: false)));

    [Fact]
    public void Who_wants_files_gets_files() =>
        Assert.Equal("As asked, the disk and its partitions are shown as files.", FilesReason(Plan([Root], choice: MountChoice.FilesOnly)));

    [Fact]
    public void A_partition_that_does_not_exist_is_refused_and_the_others_are_named()
    {
        var error = Assert.Throws<DiskException>(() => Plan([Boot, Root], choice: MountChoice.Partition(3)));
        Assert.Equal(ErrorKind.InvalidArgument, error.Kind);
        Assert.Contains("there is no partition 3; the disk has partitions 1, 5.", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_partition_that_reaches_past_the_disk_is_left_out_and_named()
    {
        var files = ImageFiles.Make(Request([Root, new ImagePartition(6, 5 << 20, 1L << 40, "ext4")], null, MountChoice.Auto));
        Assert.Equal(["disk.raw", "p5.raw"], files.Files.Select(file => file.Name));
        Assert.Contains("Partition 6 is left out", Assert.Single(files.Notes), StringComparison.Ordinal);
    }

    [Fact]
    public void Read_only_makes_every_file_read_only()
    {
        var files = ImageFiles.Make(Request([Root], null, MountChoice.Auto) with { IsReadOnly = true, Info = "{}"u8.ToArray() });
        Assert.Equal(["disk.raw", "p5.raw", "info.json"], files.Files.Select(file => file.Name));
        Assert.All(files.Files, file => Assert.True(file.IsReadOnly));
    }

    [Fact]
    public void A_partition_that_must_not_be_written_to_is_a_read_only_file_and_a_read_only_mount()
    {
        var shared = Root with { WhyReadOnly = "shares bytes" };
        var files = ImageFiles.Make(Request([Boot, shared], null, MountChoice.Auto));

        Assert.Equal([false, false, true], files.Files.Select(file => file.IsReadOnly));
        Assert.Equal("Partition 5 shares bytes; it is read-only.", Assert.Single(files.Notes));
        Assert.Equal([false, true], Plan([Boot, shared]).Targets.Select(target => target.IsReadOnly));
    }

    [Fact]
    public void Chosen_by_number_it_is_refused_unless_the_mount_is_read_only()
    {
        ImagePartition[] shared = [Boot, Root with { WhyReadOnly = "shares bytes" }];
        var error = Assert.Throws<DiskException>(() => Plan(shared, choice: MountChoice.Partition(5)));
        Assert.Equal(ErrorKind.ReadOnly, error.Kind);
        Assert.Contains("partition 5 shares bytes, so it only opens with --read-only.", error.Message, StringComparison.Ordinal);

        var request = Request(shared, null, MountChoice.Partition(5)) with { IsReadOnly = true };
        Assert.Equal(5, Assert.Single(ImageMountPlan.Make(request, shared, isRoot: true).Targets).Partition);
        Assert.Equal(1, Assert.Single(Plan(shared, choice: MountChoice.Partition(1)).Targets).Partition);
    }

    private static string FilesReason(ImageMountPlan plan)
    {
        Assert.Empty(plan.Targets);
        return plan.Reason;
    }

    private static ImageMountPlan Plan(ImagePartition[] partitions, string? whole = null, MountChoice choice = default, bool isRoot = true) =>
        ImageMountPlan.Make(Request(partitions, whole, choice), partitions, isRoot);

    private static ImageMountRequest Request(ImagePartition[] partitions, string? whole, MountChoice choice) => new()
    {
        Device = new MemoryDevice(8 << 20), Directory = "/x", PrivateFolder = "/y", Partitions = partitions, WholeDiskFileSystem = whole, Choice = choice,
    };
}
