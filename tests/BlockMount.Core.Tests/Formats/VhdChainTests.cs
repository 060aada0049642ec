using System.Security.Cryptography;
using BlockMount.Core.Chain;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.Tests.Chain;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Formats;

public sealed class VhdChainTests
{
    private const int Block = 65536;

    private readonly MemoryProvider _provider = new();

    private static IEnumerable<Sample> Vhds => Samples.All.Where(s => s.Format == "VHD");

    [Fact]
    public async Task Every_level_of_every_vhd_made_by_virtualbox_reads_as_virtualbox_shows_it()
    {
        Assert.Equal(6, await LoadSamplesAsync());
        foreach (var sample in Vhds)
        {
            await using var chain = await new ChainOpener(_provider).OpenAsync("/" + sample.File, new ChainOpenOptions { ReadOnly = true });
            Assert.Equal(sample.VirtualSize, chain.Length);
            Assert.Equal(sample.Level + 1, chain.Layers.Count);
            Assert.Equal(Guid.Parse(sample.Uuid), chain.Layers[^1].Identity.Uuid);
            Assert.Empty(chain.Layers[^1].Describe().Diagnostics);
            Assert.Equal(sample.Sha256, Convert.ToHexStringLower(SHA256.HashData(await TestChains.ReadAllAsync(chain))));
        }
    }

    [Fact]
    public async Task Opening_for_writing_and_closing_changes_no_byte_of_any_image()
    {
        await LoadSamplesAsync();
        foreach (var sample in Vhds)
        {
            await using (var chain = await new ChainOpener(_provider).OpenAsync("/" + sample.File, new ChainOpenOptions()))
            {
                await chain.FlushAsync();
            }

            Assert.Equal(sample.FileSha256, Convert.ToHexStringLower(SHA256.HashData(_provider["/" + sample.File])));
        }
    }

    [Fact]
    public async Task Writing_to_a_leaf_of_virtualboxs_keeps_the_rest_and_every_byte_of_the_headers_but_time_stamp_and_checksum()
    {
        await LoadSamplesAsync();
        const string path = "/chain-vhd/chain-vhd-L3.vhd";
        var before = _provider[path];
        byte[] model;
        await using (var chain = await TestChains.OpenAsync(_provider, path))
        {
            model = await TestChains.ReadAllAsync(chain);
            model.AsSpan((10 << 20) + 512, 1024).Fill(9);
            await chain.WriteAsync((10 << 20) + 512, model.AsMemory((10 << 20) + 512, 1024));
            await chain.FlushAsync();
        }

        await using var again = await TestChains.OpenAsync(_provider, path, readOnly: true);
        Assert.Equal(model, await TestChains.ReadAllAsync(again));
        Assert.Empty(again.Layers[^1].Describe().Diagnostics);
        var after = _provider[path];
        Assert.Equal(after[..512], after[^512..]);
        var changed = Enumerable.Range(0, 1536).Where(i => before[i] != after[i]);
        Assert.All(changed, static i => Assert.True(i is (>= 24 and < 28) or (>= 64 and < 68), $"byte {i}"));
    }

    [Fact]
    public async Task Sector_bitmaps_are_honoured_and_missing_sectors_come_from_the_parent_or_are_zero()
    {
        var parent = await TestChains.CreateAsync(_provider, "/d/L0.vhd", 4 * Block, Block);
        var model = TestChains.RandomBytes(new Random(1), 4 * Block);
        await using (var chain = await TestChains.OpenAsync(_provider, parent))
        {
            await chain.WriteAsync(0, model);
            await chain.FlushAsync();
        }

        foreach (var type in new[] { 3u, 4u })
        {
            var expected = type == 3 ? new byte[4 * Block] : (byte[])model.Clone();
            var builder = new VhdBuilder { BlockSize = Block, DiskSize = 4 * Block, Type = type, Parent = type == 4 ? (await TestChains.IdentifyAsync(_provider, parent)).Uuid : Guid.Empty };
            var block = TestChains.RandomBytes(new Random(2), Block);
            builder.Blocks.Add((2, [0x80, 0x01, .. new byte[14]], block));
            block.AsSpan(0, 512).CopyTo(expected.AsSpan(2 * Block));
            block.AsSpan(15 * 512, 512).CopyTo(expected.AsSpan((2 * Block) + (15 * 512)));
            _provider["/d/leaf.vhd"] = builder.Build();

            await using (var chain = await TestChains.OpenAsync(_provider, "/d/leaf.vhd"))
            {
                Assert.Equal(expected, await TestChains.ReadAllAsync(chain));

                // Across held and missing sectors, and not at sector borders.
                var data = TestChains.RandomBytes(new Random(3), 5000);
                data.CopyTo(expected, (2 * Block) + 7000);
                await chain.WriteAsync((2 * Block) + 7000, data);
                Assert.Equal(expected, await TestChains.ReadAllAsync(chain));
                await chain.ZeroAsync((2 * Block) + 20000, 1000);
                expected.AsSpan((2 * Block) + 20000, 1000).Clear();
                await chain.FlushAsync();
                Assert.Equal(Block, chain.Layers[^1].Describe().Allocated);
            }

            await using var again = await TestChains.OpenAsync(_provider, "/d/leaf.vhd", readOnly: true);
            Assert.Equal(expected, await TestChains.ReadAllAsync(again));
        }
    }

    [Fact]
    public async Task Concurrent_writers_to_blocks_that_lack_sectors_lose_nothing()
    {
        var random = new Random(5);
        var builder = new VhdBuilder { BlockSize = Block, DiskSize = 8 * Block };
        var model = new byte[8 * Block];
        for (var i = 0; i < 8; i += 2)
        {
            builder.Blocks.Add((i, [0xF0, .. new byte[15]], TestChains.RandomBytes(random, Block)));
        }

        _provider["/d/leaf.vhd"] = builder.Build();
        await using (var chain = await TestChains.OpenAsync(_provider, "/d/leaf.vhd"))
        {
            await Task.WhenAll(Enumerable.Range(0, 4).Select(worker => Task.Run(async () =>
            {
                var own = new Random(worker);
                foreach (var sector in Enumerable.Range(0, model.Length / 512).Where(s => s % 4 == worker).OrderBy(_ => own.Next()))
                {
                    var data = TestChains.RandomBytes(own, 512);
                    data.CopyTo(model, sector * 512);
                    await chain.WriteAsync(sector * 512L, data);
                    if (own.Next(50) == 0)
                    {
                        await chain.FlushAsync();
                    }
                }
            })));
            Assert.Equal(model, await TestChains.ReadAllAsync(chain));
            await chain.FlushAsync();
        }

        await using var again = await TestChains.OpenAsync(_provider, "/d/leaf.vhd", readOnly: true);
        Assert.Equal(model, await TestChains.ReadAllAsync(again));
    }

    [Fact]
    public async Task Zeroes_over_parent_data_allocate_and_stay_zero_and_a_trim_over_it_changes_nothing()
    {
        var parent = await TestChains.CreateAsync(_provider, "/d/L0.vhd", 4 * Block, Block);
        var data = TestChains.RandomBytes(new Random(1), 4 * Block);
        await using (var chain = await TestChains.OpenAsync(_provider, parent))
        {
            await chain.WriteAsync(0, data);
            await chain.FlushAsync();
        }

        await TestChains.CreateAsync(_provider, "/d/L1.vhd", 4 * Block, Block, parent: parent);
        await using (var chain = await TestChains.OpenAsync(_provider, "/d/L1.vhd"))
        {
            await chain.ZeroAsync(Block, Block);
            await chain.TrimAsync(2 * Block, Block);
            await chain.FlushAsync();
        }

        data.AsSpan(Block, Block).Clear();
        await using var again = await TestChains.OpenAsync(_provider, "/d/L1.vhd", readOnly: true);
        Assert.Equal(data, await TestChains.ReadAllAsync(again));
        Assert.Equal(Block, again.Layers[^1].Describe().Allocated);
    }

    [Fact]
    public async Task A_parent_written_to_after_its_child_was_made_is_refused()
    {
        foreach (var variant in new[] { "dynamic", "fixed" })
        {
            var parent = await TestChains.CreateAsync(_provider, $"/{variant}/L0.vhd", 4 * Block, blockSize: null, variant);
            await TestChains.CreateAsync(_provider, $"/{variant}/L1.vhd", 4 * Block, parent: parent);
            await using (await TestChains.OpenAsync(_provider, $"/{variant}/L1.vhd"))
            {
            }

            await using (var chain = await TestChains.OpenAsync(_provider, parent))
            {
                await chain.WriteAsync(0, new byte[] { 1 });
                await chain.FlushAsync();
            }

            var error = await Assert.ThrowsAsync<DiskException>(async () => await TestChains.OpenAsync(_provider, $"/{variant}/L1.vhd"));
            Assert.Equal(ErrorKind.BrokenChain, error.Kind);
            Assert.Contains("was changed after L1.vhd was made from it (its time stamp is", error.Message, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData(true, "run in a circle")]
    [InlineData(false, "is in none of /vm")]
    public async Task A_locator_that_leads_to_its_own_image_finds_no_parent(bool ownUuid, string sentence)
    {
        var own = Guid.NewGuid();
        var image = new VhdBuilder { Type = 4, Uuid = own, Parent = ownUuid ? own : Guid.NewGuid(), ParentName = "a.vhd" };
        image.Locators.Add(("W2ru", 512, System.Text.Encoding.Unicode.GetBytes(".\\a.vhd")));
        _provider["/vm/a.vhd"] = image.Build();

        var error = await Assert.ThrowsAsync<DiskException>(async () => await TestChains.OpenAsync(_provider, "/vm/a.vhd"));

        Assert.Equal(ErrorKind.BrokenChain, error.Kind);
        Assert.Contains(sentence, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_parent_in_a_folder_below_is_found_by_its_locator_and_one_outside_is_not()
    {
        var parent = await TestChains.CreateAsync(_provider, "/vm/deep/down/base.vhd", 4 * Block, Block);
        await TestChains.CreateAsync(_provider, "/vm/leaf.vhd", 4 * Block, Block, parent: parent);
        await using (var chain = await TestChains.OpenAsync(_provider, "/vm/leaf.vhd"))
        {
            Assert.Equal(parent, chain.Layers[0].Path);
            Assert.Equal(["./deep/down/base.vhd", parent, "base.vhd"], chain.Layers[1].ParentPaths);
        }

        await TestChains.CreateAsync(_provider, "/vm/other/leaf.vhd", 4 * Block, Block, parent: parent);
        var error = await Assert.ThrowsAsync<DiskException>(async () => await TestChains.OpenAsync(_provider, "/vm/other/leaf.vhd"));
        Assert.Equal(ErrorKind.BrokenChain, error.Kind);
        await using var allowed = await new ChainOpener(_provider).OpenAsync("/vm/other/leaf.vhd", new ChainOpenOptions { ReadOnly = true, AllowPaths = ["/vm/deep"] });
        Assert.Equal(parent, allowed.Layers[0].Path);
    }

    [Fact]
    public async Task Running_out_of_space_fails_that_write_alone_and_the_footer_stays_at_the_end()
    {
        // The footer in its new place, the bitmap over the old one, the content.
        for (var fails = 0; fails < 3; fails++)
        {
            var path = await TestChains.CreateAsync(_provider, $"/{fails}/leaf.vhd", 8 * Block, Block);
            FailingStore? failing = null;
            _provider.Wrap = s => failing = new FailingStore(s);
            await using (var chain = await TestChains.OpenAsync(_provider, path))
            {
                await chain.WriteAsync(0, new byte[] { 1 });
                await chain.FlushAsync();
                var writes = 0;
                failing!.Fault = (call, _, _) => call == StoreCall.Write && writes++ == fails ? FailingStore.NoSpace() : null;
                Assert.Equal(ErrorKind.NoSpace, (await Assert.ThrowsAsync<DiskException>(async () => await chain.WriteAsync(Block, new byte[] { 2 }))).Kind);
                failing.Fault = static (_, _, _) => null;
                await chain.WriteAsync(2 * Block, new byte[] { 3 });
                await chain.FlushAsync();
            }

            _provider.Wrap = static s => s;
            await using var again = await TestChains.OpenAsync(_provider, path, readOnly: true);
            var content = await TestChains.ReadAllAsync(again);
            Assert.Equal((1, 0, 3), (content[0], content[Block], content[2 * Block]));
            Assert.Equal(2 * Block, again.Layers[0].Describe().Allocated);
            Assert.Empty(again.Layers[0].Describe().Diagnostics);
        }
    }

    [Theory]
    [InlineData(512, 3 * Block)]
    [InlineData(511, 3 * Block)]
    [InlineData(512, (3 * Block) + 100)]
    public async Task A_fixed_image_is_written_in_place_and_of_its_footer_only_time_stamp_and_checksum_change(int footerLength, int size)
    {
        var model = TestChains.RandomBytes(new Random(1), size);
        var before = new VhdBuilder { Type = 2, DiskSize = (ulong)size, FooterLength = footerLength }.Build(model);
        _provider["/d/fixed.vhd"] = before;
        await using (var chain = await TestChains.OpenAsync(_provider, "/d/fixed.vhd"))
        {
            var data = TestChains.RandomBytes(new Random(2), 3000);
            data.CopyTo(model, size - 3000);
            await chain.WriteAsync(size - 3000, data);
            await chain.ZeroAsync(100, 70000);
            model.AsSpan(100, 70000).Clear();
            await chain.FlushAsync();
        }

        var after = _provider["/d/fixed.vhd"];
        Assert.Equal(before.Length, after.Length);
        Assert.Equal(model, after[..size]);
        var changed = Enumerable.Range(0, footerLength).Where(i => before[size + i] != after[size + i]).ToArray();
        Assert.All(changed, static i => Assert.True(i is (>= 24 and < 28) or (>= 64 and < 68), $"byte {i}"));
        Assert.Equal(footerLength == 512 && size % 512 == 0, changed.Length > 0);
        await using var again = await TestChains.OpenAsync(_provider, "/d/fixed.vhd", readOnly: true);
        Assert.Equal(model, await TestChains.ReadAllAsync(again));
    }

    [Theory]
    [InlineData(0, null, null, "")]
    [InlineData(513, null, null, "")]
    [InlineData((2040L << 30) + 512, null, null, "")]
    [InlineData(1 << 20, "split2g", null, "")]
    [InlineData(1 << 20, null, 3L << 20, "")]
    [InlineData(1 << 20, null, 1024L, "")]
    [InlineData(1 << 20, "fixed", 1L << 20, "")]
    [InlineData(1 << 20, null, null, "a comment")]
    public async Task What_a_vhd_cannot_be_is_refused_when_it_is_made(long capacity, string? variant, long? blockSize, string comment)
    {
        var options = new ImageCreateOptions { Capacity = capacity, Variant = variant, BlockSize = blockSize, Comment = comment };
        var store = new MemoryStore("new.vhd");

        var error = await Assert.ThrowsAsync<DiskException>(async () => await FormatRegistry.ByName("vhd").CreateAsync(store, new ImageContext(new MemoryProvider()), options, default));

        Assert.Equal(ErrorKind.InvalidArgument, error.Kind);
        Assert.Equal(0, store.Length);
    }

    private async Task<int> LoadSamplesAsync()
    {
        foreach (var sample in Vhds)
        {
            _provider["/" + sample.File] = await File.ReadAllBytesAsync(Samples.PathOf(sample.File));
        }

        return Vhds.Count();
    }
}
