using BlockMount.Core.Partitions;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Partitions;

/// <summary>Tables that this program makes are without fault for the programs that know tables, and hold for them what they were made to hold.</summary>
public sealed class GeneratedTableTests : IDisposable
{
    private const long Size = 256 << 20;
    private readonly TempFolder _folder = new();

    public GeneratedTableTests()
    {
        Peer.Require("sfdisk", "fdisk");
        Peer.Require("sgdisk", "gdisk");
        Peer.Require("parted", "parted");
        Peer.Require("mmls", "sleuthkit");
    }

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(512)]
    [InlineData(4096)]
    public async Task A_GPT(int sectorSize)
    {
        const long mebibyte = 1 << 20;
        var gpt = new GptDescription
        {
            DiskId = TableWriter.DiskGuid,
            Partitions =
            [
                new() { Number = 1, Length = 32 * mebibyte, Type = new("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"), Name = "EFI system" },
                new() { Number = 5, Start = 40 * mebibyte, Length = 8 * mebibyte, Type = TableWriter.LinuxType, Name = "h\u00e9llo", Attributes = (1UL << 2) | (1UL << 60) },
                new() { Number = 9, Type = TableWriter.LinuxType },
            ],
        };
        await CheckAsync(PartitionTableWriter.Write(gpt, Size, sectorSize, new Random(1)), sectorSize, "gpt");
    }

    [Theory]
    [InlineData(512)]
    [InlineData(4096)]
    public async Task An_MBR_with_logical_partitions(int sectorSize)
    {
        const long mebibyte = 1 << 20;
        var mbr = new MbrDescription
        {
            DiskSignature = 0xCAFE1234,
            Partitions =
            [
                new() { Number = 1, Length = 32 * mebibyte, Type = 0x83, Bootable = true },
                new() { Number = 2, Type = 0x0F },
                new() { Number = 5, Length = 8 * mebibyte, Type = 0x83 },
                new() { Number = 6, Length = 9 * mebibyte, Type = 0x07 },
                new() { Number = 7, Type = 0x82 },
            ],
        };
        await CheckAsync(PartitionTableWriter.Write(mbr, Size, sectorSize), sectorSize, "msdos");
    }

    [Fact]
    public async Task Random_tables_are_listed_as_partx_and_sfdisk_list_them()
    {
        var random = new Random(3);
        for (var round = 0; round < 6; round++)
        {
            var items = Enumerable.Range(0, random.Next(40)).Select(_ => new TableItem(random.Next(3000), random.Next(1, 3000), random.Next(1000))).ToArray();
            const long length = TableArbitrary.DiskSectors * 512L;
            foreach (var pieces in (IReadOnlyList<TablePiece>[])
                [PartitionTableWriter.Write(TableArbitrary.Gpt(items, 512), length, 512), PartitionTableWriter.Write(TableArbitrary.Mbr(items, 512), length, 512)])
            {
                var disk = TableArbitrary.DiskOf(pieces, length);
                disk.SaveTo(_folder["random"]);
                var table = await PartitionTable.ReadAsync(disk, TestContext.Current.CancellationToken);
                await Partx.AgreesAsync(table, _folder["random"], $"round {round}");
                await Sfdisk.AgreesAsync(table, _folder["random"]);
            }
        }
    }

    private async Task CheckAsync(IReadOnlyList<TablePiece> pieces, int sectorSize, string label)
    {
        var disk = TableArbitrary.DiskOf(pieces, Size);
        disk.SaveTo(_folder["disk"]);
        using var loop = sectorSize == 512 ? null : await TestMount.LoopAsync(_folder["disk"], "--sector-size", $"{sectorSize}");
        var path = loop?.Path ?? _folder["disk"];
        var table = await PartitionTable.ReadAsync(disk, sectorSize, TestContext.Current.CancellationToken);

        var verified = await Peer.RunAsync("sfdisk", ["--verify", path]);
        Assert.True(verified.ExitCode == 0, verified.Output + verified.Error);
        Assert.Empty(verified.Error);
        Assert.Contains("No errors detected", verified.Output, StringComparison.Ordinal);
        await Sfdisk.AgreesAsync(table, path);

        var parted = await Peer.RunAsync("parted", ["--script", "--machine", path, "unit", "B", "print"]);
        Assert.True(parted.ExitCode == 0, parted.Output + parted.Error);
        Assert.Empty(parted.Error);
        var lines = parted.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        Assert.Equal(label, lines[1].Split(':')[5]);
        Assert.Equal(
            table.Partitions.Select(p => $"{p.Number}:{p.Start}B:{p.End - 1}B:{p.Length}B"),
            lines.Skip(2).Select(line => string.Join(':', line.Split(':').Take(4))));

        var mmls = await Peer.RunAsync("mmls", ["-b", $"{sectorSize}", path]);
        Assert.True(mmls.ExitCode == 0, mmls.Output + mmls.Error);
        Assert.Empty(mmls.Error);
        foreach (var partition in table.Partitions)
        {
            Assert.Contains($"{partition.Start / sectorSize:D10}   {(partition.End / sectorSize) - 1:D10}", mmls.Output, StringComparison.Ordinal);
        }

        var sgdisk = await Peer.RunAsync("sgdisk", ["--verify", path]);
        if (label == "gpt")
        {
            Assert.Contains("No problems found", sgdisk.Output, StringComparison.Ordinal);
        }
        else
        {
            // It can convert the table in memory, which it does only for legal ones.
            Assert.Contains("valid MBR", sgdisk.Output, StringComparison.Ordinal);
        }
    }
}
