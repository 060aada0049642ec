using BlockMount.Core.Partitions;
using BlockMount.TestSupport;
using Codes = BlockMount.Core.Partitions.PartitionDiagnosticCodes;

namespace BlockMount.Core.Tests.Partitions;

/// <summary>Disks without a table: one file system, a foreign table, nothing.</summary>
public sealed class WholeDiskTests
{
    [Theory]
    [InlineData("vfat", "mkfs.vfat", "dosfstools", 16, "-I")]
    [InlineData("ntfs", "mkfs.ntfs", "ntfs-3g", 16, "-F -q")]
    [InlineData("exfat", "mkfs.exfat", "exfatprogs", 16, "")]
    [InlineData("ext4", "mkfs.ext4", "e2fsprogs", 16, "-q -F")]
    public async Task One_file_system_on_the_whole_disk_is_not_a_table(string name, string program, string package, int mebibytes, string options)
    {
        using var folder = new TempFolder();
        var path = await MakeAsync(folder, program, package, mebibytes, options);

        var table = await ReadAsync(path);

        Assert.Equal(PartitionScheme.None, table.Scheme);
        Assert.Equal(name, table.Content?.Name);
        Assert.Equal(Codes.Superfloppy, Assert.Single(table.Diagnostics).Code);
    }

    [Fact]
    public async Task A_boot_loader_in_an_ext4_disk_does_not_make_it_partitioned()
    {
        using var folder = new TempFolder();
        var path = await MakeAsync(folder, "mkfs.ext4", "e2fsprogs", 16, "-q -F");
        var sector = new byte[512];
        new Random(1).NextBytes(sector);
        foreach (var flag in (int[])[446, 462, 478, 494])
        {
            sector[flag] = 0;
            sector.AsSpan(flag + 8, 4).Fill(0xFE);
        }

        (sector[510], sector[511]) = (0x55, 0xAA);
        await WriteSectorAsync(path, sector);

        var table = await ReadAsync(path);

        Assert.Equal(PartitionScheme.None, table.Scheme);
        Assert.Equal("ext4", table.Content?.Name);
    }

    [Fact]
    public async Task A_good_table_in_front_of_the_rest_of_an_ext4_volume_is_used_with_a_warning()
    {
        using var folder = new TempFolder();
        var path = await MakeAsync(folder, "mkfs.ext4", "e2fsprogs", 16, "-q -F");
        var disk = new SparseDisk(512);
        disk.PutEntry(0, 0, 0x83, 2048, 4096);
        await WriteSectorAsync(path, disk.Get(0, 512));

        var table = await ReadAsync(path);

        Assert.Equal(PartitionScheme.Mbr, table.Scheme);
        Assert.Contains(table.Diagnostics, found => found is { Severity: DiagnosticSeverity.Warning, Code: Codes.Ambiguous });
    }

    [Theory]
    [InlineData(0, "0BE5A941", "SGI volume header")]
    [InlineData(0, "C9C2D4C1", "AIX boot record")]
    [InlineData(508, "DABEDABE", "Sun label")]
    [InlineData(524, "EEDE0D60", "Solaris x86 table of contents")]
    [InlineData(3072, "5052495648454144", "Windows dynamic disk (LDM)")]
    public async Task Foreign_tables_are_named(int offset, string magic, string name)
    {
        var disk = new SparseDisk(1 << 20);
        disk.Put(offset, Convert.FromHexString(magic));

        var table = await PartitionTable.ReadAsync(disk, TestContext.Current.CancellationToken);

        Assert.Equal(PartitionScheme.None, table.Scheme);
        Assert.Equal(name, table.ForeignScheme);
        Assert.Equal(Codes.ForeignScheme, Assert.Single(table.Diagnostics).Code);
    }

    [Fact]
    public async Task A_Sun_label_without_its_checksum_is_not_believed()
    {
        var disk = new SparseDisk(1 << 20);
        disk.Put(508, [0xDA, 0xBE, 0x01, 0x02]);

        Assert.Null((await PartitionTable.ReadAsync(disk, TestContext.Current.CancellationToken)).ForeignScheme);
    }

    [Fact]
    public async Task An_Apple_map_and_a_BSD_label_are_named()
    {
        var apple = new SparseDisk(1 << 20);
        apple.Put(0, "ER"u8);
        apple.Put(512, "PM"u8);
        var bsd = new SparseDisk(1 << 20);
        bsd.Put(512, [0x57, 0x45, 0x56, 0x82]);
        bsd.Put(512 + 132, [0x57, 0x45, 0x56, 0x82]);

        Assert.Equal("Apple partition map", (await PartitionTable.ReadAsync(apple, TestContext.Current.CancellationToken)).ForeignScheme);
        Assert.Equal("BSD disklabel", (await PartitionTable.ReadAsync(bsd, TestContext.Current.CancellationToken)).ForeignScheme);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(511)]
    public async Task A_disk_smaller_than_a_sector_is_said_to_be_too_small(long length)
    {
        var table = await PartitionTable.ReadAsync(new SparseDisk(length), TestContext.Current.CancellationToken);

        Assert.Equal(Codes.TooSmall, Assert.Single(table.Diagnostics).Code);
    }

    [Fact]
    public async Task An_empty_disk_has_nothing_to_report()
    {
        var table = await PartitionTable.ReadAsync(new SparseDisk(1 << 20), TestContext.Current.CancellationToken);

        Assert.Equal((PartitionScheme.None, null, null), (table.Scheme, table.Content, table.ForeignScheme));
        Assert.Empty(table.Diagnostics);
    }

    [Fact]
    public async Task A_hybrid_CD_image_is_read_by_its_table()
    {
        var disk = new SparseDisk(8 << 20);
        disk.PutEntry(0, 0, 0x17, 0, 16384, flag: 0x80);
        disk.Put(32768, "\u0001CD001"u8);

        var table = await PartitionTable.ReadAsync(disk, TestContext.Current.CancellationToken);

        Assert.Equal(PartitionScheme.Mbr, table.Scheme);
        Assert.True(Assert.Single(table.Partitions).IsOverlapping);
        Assert.Contains(table.Diagnostics, found => found is { Severity: DiagnosticSeverity.Information, Code: Codes.Ambiguous });
    }

    [Fact]
    public async Task A_device_with_large_alignment_is_read_in_its_own_units()
    {
        var disk = new SparseDisk(64 << 20, alignment: 4096);
        disk.PutGpt(new GptSketch(new GptSketchEntry(1, 2048, 4095)));

        var table = await PartitionTable.ReadAsync(disk, TestContext.Current.CancellationToken);

        Assert.Equal((2048L * 512, 2048L * 512), (table.Partitions[0].Start, table.Partitions[0].Length));
    }

    [Fact]
    public void The_checksum_is_that_of_zip()
    {
        Assert.Equal(0xCBF43926, Crc32.Of("123456789"u8));
        Assert.Equal(0u, Crc32.Of([]));
    }

    private static async Task<string> MakeAsync(TempFolder folder, string program, string package, int mebibytes, string options)
    {
        Peer.Require(program, package);
        var path = folder["volume.img"];
        using (var handle = File.OpenHandle(path, FileMode.CreateNew, FileAccess.Write))
        {
            RandomAccess.SetLength(handle, (long)mebibytes << 20);
        }

        await Peer.RunOkAsync(program, [.. options.Split(' ', StringSplitOptions.RemoveEmptyEntries), path]);
        return path;
    }

    private static async Task WriteSectorAsync(string path, byte[] sector)
    {
        using var handle = File.OpenHandle(path, FileMode.Open, FileAccess.Write);
        await RandomAccess.WriteAsync(handle, sector, 0, TestContext.Current.CancellationToken);
    }

    private static async Task<PartitionTable> ReadAsync(string path)
    {
        await using var device = FileDevice.Open(path);
        return await PartitionTable.ReadAsync(device, TestContext.Current.CancellationToken);
    }
}
