using BlockMount.Core.Partitions;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Partitions;

/// <summary>Legal tables that no common tool writes are listed as partx lists them.</summary>
public sealed class PartxAgreementTests
{
    private readonly SparseDisk _disk = new(64 << 20);

    [Fact]
    public async Task A_link_before_the_data()
    {
        _disk.PutEntry(0, 0, 0x85, 4096, 60000);
        _disk.PutEntry(4096, 0, 0x05, 8192, 4096);
        _disk.PutEntry(4096, 1, 0x83, 63, 100);
        _disk.PutEntry(12288, 1, 0x83, 63, 200);

        await CompareAsync();
    }

    [Fact]
    public async Task Third_and_fourth_entries_of_a_boot_record()
    {
        _disk.PutEntry(0, 0, 0x05, 4096, 10000);
        _disk.PutEntry(4096, 0, 0x83, 63, 100);
        _disk.PutEntry(4096, 2, 0x83, 1000, 100);
        _disk.PutEntry(4096, 3, 0x83, 9950, 100);

        await CompareAsync();
    }

    [Fact]
    public async Task An_empty_boot_record_in_the_middle_of_a_chain()
    {
        _disk.PutEntry(0, 0, 0x05, 4096, 60000);
        _disk.PutEntry(4096, 0, 0x83, 63, 100);
        _disk.PutEntry(4096, 1, 0x05, 8192, 4096);
        _disk.PutEntry(12288, 1, 0x05, 16384, 4096);
        _disk.PutEntry(20480, 0, 0x83, 63, 100);

        await CompareAsync();
    }

    [Fact]
    public async Task A_GPT_whose_primary_copy_is_damaged()
    {
        _disk.PutGpt(new GptSketch(new GptSketchEntry(2, 4096, 8191), new GptSketchEntry(7, 2048, 4095)));
        _disk.Flip(512 + 16);

        await CompareAsync();
    }

    [Fact]
    public async Task Chains_of_any_length_and_order()
    {
        var seed = Random.Shared.Next();
        var random = new Random(seed);
        for (var round = 0; round < 20; round++)
        {
            var disk = new SparseDisk(64 << 20);
            disk.PutDiskSignature((uint)random.Next());
            disk.PutEntry(0, 0, 0x83, 2048, (uint)random.Next(1, 2048), flag: (byte)(random.Next(2) * 0x80));
            var extended = random.Next(1, 4);
            disk.PutEntry(0, extended, random.Next(2) == 0 ? (byte)0x05 : (byte)0x0F, 4096, 120000);
            var hops = random.Next(1, 40);
            var order = Enumerable.Range(1, hops).OrderBy(_ => random.Next()).Prepend(0).ToArray();
            for (var hop = 0; hop <= hops; hop++)
            {
                var here = (uint)order[hop] * 2048;
                var dataSlot = random.Next(2);
                disk.PutEntry(4096 + here, dataSlot, (byte)random.Next(0x80, 0x84), (uint)random.Next(1, 100), (uint)random.Next(1, 1900));
                if (hop < hops)
                {
                    disk.PutEntry(4096 + here, 1 - dataSlot, 0x05, (uint)order[hop + 1] * 2048, 2048);
                }
            }

            await CompareAsync(disk, $"seed {seed}, round {round}\n");
        }
    }

    private Task CompareAsync() => CompareAsync(_disk, "");

    private static async Task CompareAsync(SparseDisk disk, string context)
    {
        using var folder = new TempFolder();
        disk.SaveTo(folder["disk.img"]);
        var table = await PartitionTable.ReadAsync(disk, TestContext.Current.CancellationToken);

        Assert.NotEmpty(table.Partitions);
        await Partx.AgreesAsync(table, folder["disk.img"], context);
    }
}
