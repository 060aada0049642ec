using System.Text;
using System.Text.Json;
using BlockMount.Core.Chain;
using BlockMount.Core.Formats;
using BlockMount.Core.Tests.Chain;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Formats;

/// <summary>Extents of ESX that no program here makes: qemu must read the files laid out by these tests to the same bytes, at the same places.</summary>
public sealed class VmdkEsxPeerTests : IDisposable
{
    private const int SeGrain = VmdkSeBuilder.GrainBytes;
    private readonly TempFolder _folder = new();
    private readonly MemoryProvider _provider = new();
    private readonly Random _random = new(5);

    public VmdkEsxPeerTests() => Peer.Require("qemu-img", "qemu-utils");

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(2, 100 * 8, 0, false)]
    [InlineData(3, (100 * 8) + 3, 0, true)]
    [InlineData(4, (2 * 32768) + 16384 + 1, 0, true)]
    [InlineData(5, (2 * 32768) + 16384 + 7, 4093, true)]
    [InlineData(6, 5 * 32768, 4096, false)]
    public async Task Every_kind_of_sesparse_entry_reads_as_qemu_reads_it(int seed, int sectors, long firstGrain, bool hasParent)
    {
        var random = new Random(seed);
        var model = hasParent ? await BaseAsync(sectors) : new byte[sectors * 512];
        var builder = new VmdkSeBuilder { Capacity = sectors, FirstGrain = firstGrain };
        var grains = (sectors + 7) / 8;

        // Around the ends of tables and of the disk, and here and there; the second table, where there are several, is left out.
        var places = Enumerable.Range(0, 30).Concat(Enumerable.Range(4080, 16)).Concat(Enumerable.Range(8192, 12)).Concat(Enumerable.Range(grains - 5, 5))
            .Where(g => g < grains && g / VmdkSeBuilder.GrainsPerTable != 1).Distinct().OrderBy(_ => random.Next()).ToArray();
        foreach (var grain in places.Order())
        {
            var part = model.AsSpan(grain * SeGrain, Math.Min(SeGrain, model.Length - (grain * SeGrain)));
            switch (grain == grains - 1 ? 3 : random.Next(7))
            {
                case 0:
                    break;
                case 1:
                    builder.Entries[grain] = (1ul << 60) | (ulong)random.NextInt64(1L << 60);
                    part.Clear();
                    break;
                case 2:
                    builder.Entries[grain] = 2ul << 60;
                    part.Clear();
                    break;
                default:
                    builder.Grains.Add((grain, TestChains.RandomBytes(random, SeGrain)));
                    builder.Grains[^1].Content.AsSpan(0, part.Length).CopyTo(part);
                    break;
            }
        }

        // Some neighbours lie together in the file, others do not.
        var order = builder.Grains.OrderBy(g => g.Grain % 5 == 0).ThenBy(g => g.Grain).ToArray();
        builder.Grains.Clear();
        builder.Grains.AddRange(order);
        _provider["/d/leaf-sesparse.vmdk"] = builder.Build();
        await DescribeAsync("seSparse", $"RW {sectors} SESPARSE \"leaf-sesparse.vmdk\"", hasParent);

        await AgreeAsync(model);
    }

    [Theory]
    [InlineData(1, 5000, true)]
    [InlineData(1, 5000, false)]
    [InlineData(16, 3 * 65536, true)]
    [InlineData(128, 1600, true)]
    public async Task A_copy_on_write_extent_of_esx_reads_as_qemu_reads_it(int grainSectors, int sectors, bool hasParent)
    {
        var model = hasParent ? await BaseAsync(sectors) : new byte[sectors * 512];
        var size = grainSectors * 512;
        var grains = new List<(int, byte[])>();
        foreach (var grain in new[] { 7, 8, 4095, 4096, 4097, 9000, 3, ((sectors + grainSectors - 1) / grainSectors) - 1 }.Where(g => g * size < model.Length).Distinct())
        {
            var content = TestChains.RandomBytes(_random, size);
            grains.Add((grain, content));
            content.AsSpan(0, Math.Min(size, model.Length - (grain * size))).CopyTo(model.AsSpan(grain * size));
        }

        _provider["/d/leaf-delta.vmdk"] = VmdkCowBuilder.Build(sectors, grainSectors, [.. grains]);
        await DescribeAsync("vmfsSparse", $"RW {sectors} VMFSSPARSE \"leaf-delta.vmdk\"", hasParent);

        await AgreeAsync(model);
    }

    [Fact]
    public async Task A_flat_extent_of_esx_reads_as_qemu_reads_it()
    {
        _provider["/d/leaf-flat.vmdk"] = TestChains.RandomBytes(_random, 100 * 512);
        await DescribeAsync("vmfs", "RW 100 VMFS \"leaf-flat.vmdk\"", hasParent: false);

        await AgreeAsync(_provider["/d/leaf-flat.vmdk"]);
    }

    private async Task<byte[]> BaseAsync(int sectors)
    {
        var model = TestChains.RandomBytes(_random, sectors * 512);
        model.AsSpan(model.Length / 2, model.Length / 4).Clear();
        await TestChains.CreateAsync(_provider, "/d/base.vmdk", model.Length, 65536);
        await using var chain = await TestChains.OpenAsync(_provider, "/d/base.vmdk");
        await chain.WriteAsync(0, model);
        await chain.FlushAsync();
        return model;
    }

    private async Task DescribeAsync(string createType, string extent, bool hasParent)
    {
        var parent = hasParent ? (await TestChains.IdentifyAsync(_provider, "/d/base.vmdk")).ContentId!.Value : uint.MaxValue;
        var hint = hasParent ? "parentFileNameHint=\"base.vmdk\"\n" : "";
        _provider["/d/leaf.vmdk"] = Encoding.ASCII.GetBytes(
            $"# Disk DescriptorFile\nversion=1\nCID=00000001\nparentCID={parent:x8}\ncreateType=\"{createType}\"\n{hint}\n# Extent description\n{extent}\n");
    }

    private async Task AgreeAsync(byte[] model)
    {
        await using var chain = await TestChains.OpenAsync(_provider, "/d/leaf.vmdk", readOnly: true);
        var ours = await TestChains.ReadAllAsync(chain);
        Assert.True(model.AsSpan().SequenceEqual(ours), "read here");
        await ChainModelTests.AssertMapIsTrueAsync(chain, model);
        foreach (var path in _provider.Paths)
        {
            await File.WriteAllBytesAsync(_folder[Path.GetFileName(path)], _provider[path]);
        }

        await Peer.RunOkAsync("qemu-img", "convert", "-f", "vmdk", "-O", "raw", _folder["leaf.vmdk"], _folder["theirs.raw"]);
        var theirs = await File.ReadAllBytesAsync(_folder["theirs.raw"]);
        Assert.True(model.AsSpan().SequenceEqual(theirs), "read by qemu");
        await SamePlacesAsync(chain, await Peer.RunOkAsync("qemu-img", "map", "-f", "vmdk", "--output=json", _folder["leaf.vmdk"]));
    }

    /// <summary>What qemu finds in the leaf itself is found here, at the same place of the file.</summary>
    private static async Task SamePlacesAsync(DiskChain chain, string map)
    {
        using var json = JsonDocument.Parse(map);
        var compared = 0;
        foreach (var entry in json.RootElement.EnumerateArray().Where(e => e.GetProperty("depth").GetInt32() == 0))
        {
            var data = entry.GetProperty("data").GetBoolean();
            if (!data && chain.Layers.Count == 1)
            {
                continue;
            }

            var start = entry.GetProperty("start").GetInt64();
            var run = await chain.Layers[^1].ResolveAsync(start, entry.GetProperty("length").GetInt64(), default);
            Assert.Equal(data ? RunKind.Data : RunKind.Zero, run.Kind);
            if (data)
            {
                Assert.Equal(entry.GetProperty("offset").GetInt64(), run.StoreOffset);
                compared++;
            }
        }

        Assert.NotEqual(0, compared);
    }
}
