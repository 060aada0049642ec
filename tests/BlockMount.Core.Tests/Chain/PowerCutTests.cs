using BlockMount.Core.Chain;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.Formats.Vdi;
using BlockMount.Core.Tests.Formats;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Chain;

/// <summary>
/// The power goes after every operation that the image's file was asked for; what no flush had covered is there, gone, or torn at
/// any sector. The image must open, and every sector must read as it was flushed, or as something written since (rules D1, D2).
/// </summary>
public sealed class PowerCutTests
{
    private const int Capacity = 8 * 65536;
    private const int Sector = 512;

    [Theory]
    [InlineData("vdi", 1, false, 65536)]
    [InlineData("vdi", 2, false, 131072)]
    [InlineData("vdi", 3, true, 65536)]
    [InlineData("vdi", 4, true, 131072)]
    [InlineData("vdi", 5, true, 65536)]
    [InlineData("vhd", 1, false, 65536)]
    [InlineData("vhd", 2, false, 131072)]
    [InlineData("vhd", 3, true, 65536)]
    [InlineData("vhd", 4, true, 131072)]
    [InlineData("vhd", 5, true, 65536)]
    public async Task A_power_cut_at_any_moment_keeps_what_was_flushed_and_never_shows_foreign_bytes(
        string format, int seed, bool differencing, int blockSize)
    {
        var run = await CutEverywhereAsync(format, seed, differencing, blockSize);

        // These runs are known to be long and to punch holes; others need not be.
        Assert.True(run.Store.Operations.Count > 60);
        Assert.Contains(run.Store.Operations, o => o is StoreOperation.Zero);
    }

    [Fact]
    public Task Power_cuts_keep_what_was_flushed_for_as_long_as_there_is_time() => FreshSeeds.RunAsync(seed =>
        CutEverywhereAsync(seed % 5 < 3 ? "vdi" : "vhd", seed, differencing: seed % 2 == 0, 65536 << (seed % 3)));

    private static async Task<Recorded> CutEverywhereAsync(string format, int seed, bool differencing, int blockSize)
    {
        var random = new Random(seed);
        var provider = new MemoryProvider();
        var content = new byte[Capacity];
        string? parent = null;
        if (differencing)
        {
            parent = await TestChains.CreateAsync(provider, $"/d/L0.{format}", Capacity, 65536);
            content = TestChains.RandomBytes(random, Capacity);
            content.AsSpan(3 * 65536, 65536).Clear();
            await using var chain = await TestChains.OpenAsync(provider, parent);
            await chain.WriteAsync(0, content.AsMemory(0, 3 * 65536));
            await chain.WriteAsync(4 * 65536, content.AsMemory(4 * 65536));
            await chain.FlushAsync();
        }

        // Laid out tightly, so that thousands of crashes are replayed in seconds.
        var path = $"/d/leaf.{format}";
        var link = parent is null ? default : await TestChains.IdentifyAsync(provider, parent);
        provider[path] = format == "vdi" ? TightVdi(blockSize, link) : TightVhd(random, blockSize, link, content);
        var run = await RecordAsync(provider, path, random, content);
        for (var cut = 0; cut <= run.Store.Operations.Count; cut++)
        {
            var whole = cut;
            await CheckAsync(provider, path, run, cut, PowerCut.Replay(run.Store, cut, static (_, _) => true), "all there");
            await CheckAsync(provider, path, run, cut, PowerCut.Replay(run.Store, cut, static (_, _) => false), "all gone");
            await CheckAsync(provider, path, run, cut, PowerCut.Replay(run.Store, cut, (op, _) => op == whole - 1), "only the last there");
            await CheckAsync(provider, path, run, cut, PowerCut.Replay(run.Store, cut, (op, _) => op != whole - 1), "only the last gone");
            for (var i = 0; i < 3; i++)
            {
                await CheckAsync(provider, path, run, cut, PowerCut.Replay(run.Store, cut, (_, _) => random.Next(2) == 0), "torn at random");
            }
        }

        return run;
    }

    [Theory]
    [InlineData("vdi")]
    [InlineData("vhd")]
    public async Task After_a_crash_the_next_session_reuses_the_lost_space_and_shows_no_stale_bytes(string format)
    {
        var provider = new MemoryProvider();
        var path = await TestChains.CreateAsync(provider, $"/d/leaf.{format}", Capacity, 65536);
        var store = new RecordingStore(path, provider[path]);
        provider.Wrap = _ => store;
        await using (var chain = await TestChains.OpenAsync(provider, path))
        {
            var garbage = new byte[65536];
            garbage.AsSpan().Fill(0xEE);
            await chain.WriteAsync(0, garbage);
            await chain.WriteAsync(65536, garbage);
        }

        // Content written, table entries not: both slots are lost, with their bytes still in the file.
        provider.Wrap = static s => s;
        provider[path] = PowerCut.Replay(store, store.Operations.Count, static (_, _) => true);
        var length = provider[path].Length;
        await using (var chain = await TestChains.OpenAsync(provider, path))
        {
            await chain.WriteAsync(5 * 65536, new byte[] { 1, 2, 3 });
            await chain.FlushAsync();
            var block = new byte[65536];
            await chain.ReadAsync(5 * 65536, block);
            Assert.Equal([1, 2, 3], block[..3]);
            Assert.False(block.AsSpan(3).ContainsAnyExcept((byte)0));
        }

        Assert.Equal(length, provider[path].Length);
        await using var again = await TestChains.OpenAsync(provider, path, readOnly: true);
        Assert.Equal(65536, again.Layers[0].Describe().Allocated);
        Assert.Empty(again.Layers[0].Describe().Diagnostics);
    }

    [Fact]
    public async Task The_modification_uuid_is_durable_before_the_first_guest_write_and_opening_alone_changes_nothing()
    {
        var provider = new MemoryProvider();
        var path = await TestChains.CreateAsync(provider, "/d/leaf.vdi", Capacity, 65536);
        var store = new RecordingStore(path, provider[path]);
        provider.Wrap = _ => store;
        await using var chain = await TestChains.OpenAsync(provider, path);
        var before = chain.Layers[0].Identity.ModificationUuid;
        await chain.ReadAsync(0, new byte[4096]);
        await chain.FlushAsync();
        Assert.Empty(store.Operations);

        await chain.WriteAsync(0, new byte[] { 1 });

        var first = Assert.IsType<StoreOperation.Write>(store.Operations[0]);
        Assert.Equal(408, first.Offset);
        Assert.Equal(chain.Layers[0].Identity.ModificationUuid, new Guid(first.Data));
        Assert.NotEqual(before, chain.Layers[0].Identity.ModificationUuid);
        Assert.IsType<StoreOperation.Flush>(store.Operations[1]);
    }

    [Fact]
    public async Task After_a_failed_flush_nothing_claims_success_any_more_but_reading_goes_on()
    {
        var provider = new MemoryProvider();
        var path = await TestChains.CreateAsync(provider, "/d/leaf.vdi", Capacity, 65536);
        FailingStore? failing = null;
        provider.Wrap = s => failing = new FailingStore(s);
        await using var chain = await TestChains.OpenAsync(provider, path);
        await chain.WriteAsync(0, new byte[] { 7 });
        failing!.Fault = (call, _, _) => call == StoreCall.Flush ? FailingStore.IoError() : null;
        Assert.Equal(ErrorKind.Io, (await Assert.ThrowsAsync<DiskException>(async () => await chain.FlushAsync())).Kind);

        failing.Fault = static (_, _, _) => null;
        Assert.Equal(ErrorKind.PreviousFailure, (await Assert.ThrowsAsync<DiskException>(async () => await chain.FlushAsync())).Kind);
        Assert.Equal(ErrorKind.PreviousFailure, (await Assert.ThrowsAsync<DiskException>(async () => await chain.WriteAsync(0, new byte[1]))).Kind);
        Assert.Equal(ErrorKind.PreviousFailure, (await Assert.ThrowsAsync<DiskException>(async () => await chain.ZeroAsync(0, 1))).Kind);
        Assert.Equal(ErrorKind.PreviousFailure, (await Assert.ThrowsAsync<DiskException>(async () => await chain.TrimAsync(0, 1))).Kind);
        var one = new byte[1];
        await chain.ReadAsync(0, one);
        Assert.Equal(7, one[0]);
    }

    [Theory]
    [InlineData(StoreCall.Write)]
    [InlineData(StoreCall.Resize)]
    public async Task Running_out_of_space_fails_that_write_alone_and_costs_no_slot(StoreCall fails)
    {
        var provider = new MemoryProvider();
        var path = await TestChains.CreateAsync(provider, "/d/leaf.vdi", Capacity, 65536);
        FailingStore? failing = null;
        provider.Wrap = s => failing = new FailingStore(s);
        await using (var chain = await TestChains.OpenAsync(provider, path))
        {
            await chain.WriteAsync(0, new byte[] { 1 });
            await chain.FlushAsync();
            failing!.Fault = (call, _, _) => call == fails ? FailingStore.NoSpace() : null;
            Assert.Equal(ErrorKind.NoSpace, (await Assert.ThrowsAsync<DiskException>(async () => await chain.WriteAsync(65536, new byte[] { 2 }))).Kind);
            failing.Fault = static (_, _, _) => null;
            await chain.WriteAsync(2 * 65536, new byte[] { 3 });
            await chain.FlushAsync();
            var content = await TestChains.ReadAllAsync(chain);
            Assert.Equal((1, 0, 3), (content[0], content[65536], content[2 * 65536]));
        }

        await using var again = await TestChains.OpenAsync(provider, path, readOnly: true);
        Assert.Equal(2 * 65536, again.Layers[0].Describe().Allocated);
        Assert.Empty(again.Layers[0].Describe().Diagnostics);
    }

    private static byte[] TightVdi(int blockSize, ImageIdentity parent) => new VdiBuilder
    {
        DiskSize = Capacity,
        BlockSize = (uint)blockSize,
        Type = parent.Uuid == Guid.Empty ? 1u : 4u,
        Linkage = parent.Uuid,
        ParentModify = parent.ModificationUuid,
    }.Build();

    /// <summary>With two blocks that hold only some of their sectors, and foreign bytes where they hold none.</summary>
    private static byte[] TightVhd(Random random, int blockSize, ImageIdentity parent, byte[] content)
    {
        var builder = new VhdBuilder
        {
            DiskSize = Capacity,
            BlockSize = (uint)blockSize,
            Type = parent.Uuid == Guid.Empty ? 3u : 4u,
            Parent = parent.Uuid,
            ParentTimeStamp = (uint)parent.ChangedAt,
        };
        foreach (var index in new[] { 0, (Capacity / blockSize) - 2 }.Distinct())
        {
            var bitmap = TestChains.RandomBytes(random, blockSize / Sector / 8);
            var block = TestChains.RandomBytes(random, blockSize);
            builder.Blocks.Add((index, bitmap, block));
            for (var i = 0; i < blockSize / Sector; i++)
            {
                if ((bitmap[i / 8] & (0x80 >> (i % 8))) != 0)
                {
                    block.AsSpan(i * Sector, Sector).CopyTo(content.AsSpan((index * blockSize) + (i * Sector)));
                }
            }
        }

        return builder.Build();
    }

    /// <summary>Runs random operations on a recording store; the versions that each sector may have at each moment go along.</summary>
    internal static async Task<Recorded> RecordAsync(MemoryProvider provider, string path, Random random, byte[] initial)
    {
        var store = new RecordingStore(path, provider[path]);
        var run = new Recorded(store, initial);
        provider.Wrap = s => s.Name == path ? store : s;
        await using var chain = await TestChains.OpenAsync(provider, path);
        var content = (byte[])initial.Clone();
        for (var i = 0; i < 70; i++)
        {
            var length = Sector * random.Next(1, random.Next(3) == 0 ? 300 : 20);
            var offset = Sector * random.Next(0, (Capacity - length) / Sector);
            var kind = random.Next(8);
            if (random.Next(2) == 0 && kind >= 4)
            {
                (offset, length) = (offset / 65536 * 65536, 65536);
            }

            switch (kind)
            {
                case < 4:
                    var data = TestChains.RandomBytes(random, length);
                    run.Note(offset, data);
                    await chain.WriteAsync(offset, data);
                    data.CopyTo(content, offset);
                    break;
                case < 6:
                    run.Note(offset, new byte[length]);
                    await chain.ZeroAsync(offset, length, random.Next(4) == 0 ? WriteOptions.KeepAllocated : WriteOptions.None);
                    content.AsSpan(offset, length).Clear();
                    break;
                case 6:
                    run.Note(offset, new byte[length]);
                    await chain.TrimAsync(offset, length);
                    await chain.ReadAsync(offset, content.AsMemory(offset, length));
                    run.Note(offset, content.AsSpan(offset, length).ToArray());
                    break;
                default:
                    await chain.FlushAsync();
                    run.FlushEnded(content);
                    break;
            }
        }

        await chain.FlushAsync();
        run.FlushEnded(content);
        provider.Wrap = static s => s;
        return run;
    }

    private static async Task CheckAsync(MemoryProvider provider, string path, Recorded run, int cut, byte[] image, string how)
    {
        await CheckContentAsync(provider, path, run, cut, image, how);

        if (Path.GetExtension(path) == ".vdi")
        {
            CheckCount(path, image, cut, how);
        }
        else if (cut % 4 == 0)
        {
            await CheckGoesOnAsync(provider, path, cut, how);
        }
    }

    internal static async Task CheckContentAsync(
        MemoryProvider provider, string path, Recorded run, int cut, byte[] image, string how, bool readOnly = true)
    {
        provider[path] = image;
        DiskChain chain;
        try
        {
            chain = await TestChains.OpenAsync(provider, path, readOnly);
        }
        catch (DiskException e)
        {
            throw new InvalidOperationException($"cut after operation {cut} ({how}): the image does not open: {e.Message}", e);
        }

        await using (chain)
        {
            var content = await TestChains.ReadAllAsync(chain);
            for (var sector = 0; sector < Capacity / Sector; sector++)
            {
                if (!run.Allows(cut, sector, content.AsSpan(sector * Sector, Sector)))
                {
                    Assert.Fail($"cut after operation {cut} ({how}): sector {sector} is neither what was flushed nor anything written since");
                }
            }
        }
    }

    /// <summary>The next session writes, wherever the footer was lost, and leaves an image without findings.</summary>
    private static async Task CheckGoesOnAsync(MemoryProvider provider, string path, int cut, string how)
    {
        byte[] content;
        await using (var chain = await TestChains.OpenAsync(provider, path))
        {
            content = await TestChains.ReadAllAsync(chain);
            content.AsSpan(5 * 65536, 65536).Fill(0xA5);
            await chain.WriteAsync(5 * 65536, content.AsMemory(5 * 65536, 65536));
            await chain.FlushAsync();
        }

        await using var again = await TestChains.OpenAsync(provider, path, readOnly: true);
        var found = await TestChains.ReadAllAsync(again);
        Assert.True(found.AsSpan().SequenceEqual(content), $"cut after operation {cut} ({how}): the next session lost bytes");
        Assert.Empty(again.Layers[^1].Describe().Diagnostics);
    }

    /// <summary>What VirtualBox relies on when it allocates: every durable entry lies below the durable count.</summary>
    private static void CheckCount(string path, byte[] image, int cut, string how)
    {
        var header = VdiHeader.Parse(path, image, image.Length);
        for (var i = 0; i < header.BlockCount; i++)
        {
            var entry = BitConverter.ToUInt32(image, (int)header.TableOffset + (4 * i));
            Assert.True(entry >= 0xFFFFFFFE || entry < header.BlocksAllocated, $"cut after operation {cut} ({how}): entry {i} is {entry}, the count {header.BlocksAllocated}");
        }
    }

    internal sealed class Recorded(RecordingStore store, byte[] initial)
    {
        private readonly List<(int At, int Sector, byte[] Data)> _versions = [];
        private readonly List<(int At, byte[] Content, int Versions)> _flushes = [(0, (byte[])initial.Clone(), 0)];

        public RecordingStore Store => store;

        /// <summary>The sectors of a write that is about to start may be on disk from the next store operation on.</summary>
        public void Note(int offset, byte[] data)
        {
            for (var i = 0; i < data.Length; i += Sector)
            {
                _versions.Add((store.Operations.Count, (offset + i) / Sector, data.AsSpan(i, Sector).ToArray()));
            }
        }

        public void FlushEnded(byte[] content) => _flushes.Add((store.Operations.Count, (byte[])content.Clone(), _versions.Count));

        public bool Allows(int cut, int sector, ReadOnlySpan<byte> found)
        {
            var flush = _flushes.Last(f => f.At <= cut);
            if (found.SequenceEqual(flush.Content.AsSpan(sector * Sector, Sector)))
            {
                return true;
            }

            for (var i = flush.Versions; i < _versions.Count && _versions[i].At < cut; i++)
            {
                if (_versions[i].Sector == sector && found.SequenceEqual(_versions[i].Data))
                {
                    return true;
                }
            }

            return false;
        }
    }
}
