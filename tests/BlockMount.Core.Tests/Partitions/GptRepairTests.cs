using BlockMount.Core.Errors;
using BlockMount.Core.Partitions;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Partitions;

public sealed class GptRepairTests
{
    private const int Sectors = 131072;
    private readonly SparseDisk _disk = new(Sectors * 512L);
    private readonly GptSketch _sketch = new(new GptSketchEntry(1, 2048, 4095) { Name = "one" }, new GptSketchEntry(3, 8192, 16383));

    [Theory]
    [InlineData(512 + 16)] // primary header's checksum
    [InlineData(512)] // its signature
    [InlineData(1024 + 40)] // its entries
    [InlineData(((Sectors - 1) * 512) + 16)] // backup header
    [InlineData(((Sectors - 33) * 512) + 40)] // its entries
    public async Task A_damaged_copy_becomes_again_what_it_was(int offset)
    {
        _disk.PutGpt(_sketch);
        var (primary, backup) = (_disk.Get(512, 33 * 512), _disk.Get((Sectors - 33) * 512L, 33 * 512));
        _disk.Flip(offset);

        await RepairAsync();

        Assert.Equal(primary, _disk.Get(512, 33 * 512));
        Assert.Equal(backup, _disk.Get((Sectors - 33) * 512L, 33 * 512));
        Assert.Empty((await PartitionTable.ReadAsync(_disk, TestContext.Current.CancellationToken)).Diagnostics);
    }

    [Theory]
    [InlineData(512 + 16)]
    [InlineData(((Sectors - 1) * 512) + 16)]
    public async Task What_was_repaired_is_without_problems_for_sgdisk(int offset)
    {
        Peer.Require("sgdisk", "gdisk");
        using var folder = new TempFolder();
        _disk.PutGpt(_sketch);
        _disk.Flip(offset);
        _disk.SaveTo(folder["damaged"]);
        await RepairAsync();
        _disk.SaveTo(folder["repaired"]);

        // It repairs a damaged table in memory and says so before it checks the result.
        Assert.Contains("invalid", await TextOfAsync(folder["damaged"]), StringComparison.Ordinal);
        var text = await TextOfAsync(folder["repaired"]);
        Assert.StartsWith("\nNo problems found", text, StringComparison.Ordinal);
        Assert.DoesNotContain("invalid", text, StringComparison.Ordinal);

        static async Task<string> TextOfAsync(string path)
        {
            var result = await Peer.RunAsync("sgdisk", ["-v", path]);
            return result.Output + result.Error;
        }
    }

    [Fact]
    public async Task Entries_that_a_boot_loader_has_moved_stay_where_they_are()
    {
        Peer.Require("sgdisk", "gdisk");
        using var folder = new TempFolder();
        _disk.SaveTo(folder["disk"]);
        await Peer.RunOkAsync("sgdisk", "--move-main-table=500", "--new=1:2048:4095", folder["disk"]);
        var bytes = await File.ReadAllBytesAsync(folder["disk"], TestContext.Current.CancellationToken);
        _disk.Put(0, bytes);
        _disk.Flip(512 + 16);
        _disk.Put(1024, "boot loader"u8);

        await RepairAsync();

        Assert.Equal("boot loader"u8.ToArray(), _disk.Get(1024, 11));
        Assert.Equal(bytes.AsSpan(512, 512).ToArray(), _disk.Get(512, 512));
        Assert.Equal(bytes.AsSpan(500 * 512, 16384).ToArray(), _disk.Get(500 * 512, 16384));
    }

    [Fact]
    public async Task A_table_without_a_good_copy_or_without_a_place_for_the_other_is_not_repaired()
    {
        var empty = await Assert.ThrowsAsync<DiskException>(RepairAsync);
        Assert.Equal(ErrorKind.CorruptImage, empty.Kind);
        Assert.Contains("no backup was found", empty.Message, StringComparison.Ordinal);

        _disk.PutGpt(_sketch);
        var cut = new SparseDisk((Sectors - 10) * 512L);
        cut.Put(0, _disk.Get(0, 34 * 512));
        var error = await Assert.ThrowsAsync<DiskException>(() => GptRepair.PiecesAsync(cut, 512, TestContext.Current.CancellationToken).AsTask());
        Assert.Contains("no place", error.Message, StringComparison.Ordinal);
    }

    private async Task RepairAsync()
    {
        foreach (var piece in await GptRepair.PiecesAsync(_disk, 512, TestContext.Current.CancellationToken))
        {
            _disk.Put(piece.Offset, piece.Bytes.Span);
        }
    }
}
