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
    [InlineData("", "vdi", 1)]
    [InlineData("", "vdi", 2)]
    [InlineData("vdi", "vdi", 3)]
    [InlineData("vmdk-4k", "vdi", 4)]
    [InlineData("vhd-64k", "vdi", 5)]
    [InlineData("", "vhd", 1)]
    [InlineData("", "vhd", 2)]
    [InlineData("vhd", "vhd", 3)]
    [InlineData("vdi-64k", "vhd", 4)]
    [InlineData("vmdk", "vhd", 5)]
    [InlineData("", "vmdk", 1)]
    [InlineData("vmdk", "vmdk", 2)]
    [InlineData("vhd-64k", "vmdk", 3)]
    [InlineData("vdi-64k", "vmdk-zeroed", 4)]
    [InlineData("vhd-fixed", "vmdk-split", 5)]
    [InlineData("vdi", "vmdk-bare", 6)]
    public async Task A_power_cut_at_any_moment_keeps_what_was_flushed_and_never_shows_foreign_bytes(string parent, string leaf, int seed)
    {
        var run = await CutEverywhereAsync(parent, leaf, seed);

        // These runs are known to be long and to punch holes; others need not be.
        Assert.True(run.Clock.Now > 60);
        Assert.Contains(run.Stores.SelectMany(s => s.Operations), o => o is StoreOperation.Zero);
    }

    [Fact]
    public Task Power_cuts_keep_what_was_flushed_for_as_long_as_there_is_time() => FreshSeeds.RunAsync(seed =>
    {
        var random = new Random(seed);
        var parents = TestImages.Bases.Append("").ToArray();
        string[] leaves = ["vdi", "vhd", "vmdk", "vmdk-zeroed", "vmdk-split", "vmdk-bare"];
        return CutEverywhereAsync(parents[random.Next(parents.Length)], leaves[random.Next(leaves.Length)], seed);
    });

    [Theory]
    [InlineData("vmdk", "vdi")]
    [InlineData("vhd", "vdi")]
    [InlineData("vdi", "vhd")]
    [InlineData("vmdk", "vhd")]
    [InlineData("vdi", "vmdk")]
    [InlineData("vhd", "vmdk-zeroed")]
    [InlineData("vhd", "vmdk-split")]
    public async Task Where_zeros_were_flushed_over_a_parent_of_another_format_no_power_cut_shows_the_parents_bytes_again(string parentKind, string leafKind)
    {
        var random = new Random(1);
        var provider = new MemoryProvider();
        var parent = await TestImages.MakeAsync(provider, parentKind, "/d/L0", Capacity);
        var content = TestChains.RandomBytes(random, Capacity);
        await using (var chain = await TestChains.OpenAsync(provider, parent))
        {
            await chain.WriteAsync(0, content);
            await chain.FlushAsync();
        }

        var path = await MakeLeafAsync(provider, leafKind, random, 65536, parent, content);
        var run = new Recorded(provider, path, content);
        (int At, int Length)[] zeroed = [(0, 65536), (2 * 65536, 4096), ((3 * 65536) + 512, 2 * 65536)];
        await using (var chain = await TestChains.OpenAsync(provider, path))
        {
            foreach (var (at, length) in zeroed)
            {
                run.Note(at, new byte[length]);
                await chain.ZeroAsync(at, length);
                content.AsSpan(at, length).Clear();
            }

            await chain.FlushAsync();
            run.FlushEnded(content);

            // What follows touches the same units, and zeros once more, in every way.
            foreach (var (at, length) in zeroed)
            {
                await chain.TrimAsync(at, length);
                await chain.ZeroAsync(at, length, WriteOptions.KeepAllocated);
                await chain.ZeroAsync(at, length);
            }

            var data = TestChains.RandomBytes(random, 1024);
            run.Note((2 * 65536) + 8192, data);
            await chain.WriteAsync((2 * 65536) + 8192, data);
            data.CopyTo(content, (2 * 65536) + 8192);
            await chain.FlushAsync();
            run.FlushEnded(content);
        }

        provider.Wrap = static s => s;
        await CutAsync(provider, run, random);
    }

    private static async Task<Recorded> CutEverywhereAsync(string parentKind, string leafKind, int seed)
    {
        var random = new Random(seed);
        var provider = new MemoryProvider();
        var content = new byte[Capacity];
        string? parent = null;
        if (parentKind.Length > 0)
        {
            // Of every other seed the parent is smaller than its child.
            var size = seed % 2 == 0 ? Capacity : (6 * 65536) + 512;
            parent = await TestImages.MakeAsync(provider, parentKind, "/d/L0", size);
            TestChains.RandomBytes(random, size).CopyTo(content, 0);
            content.AsSpan(3 * 65536, 65536).Clear();
            await using var chain = await TestChains.OpenAsync(provider, parent);
            await chain.WriteAsync(0, content.AsMemory(0, 3 * 65536));
            await chain.WriteAsync(4 * 65536, content.AsMemory(4 * 65536, size - (4 * 65536)));
            await chain.FlushAsync();
        }

        var path = await MakeLeafAsync(provider, leafKind, random, 65536 << (seed % 2), parent, content);
        var run = await RecordAsync(provider, path, random, content);
        await CutAsync(provider, run, random);
        return run;
    }

    /// <summary>Replays the cut at every moment, with what no flush had covered there, gone, or torn.</summary>
    private static async Task CutAsync(MemoryProvider provider, Recorded run, Random random)
    {
        for (var cut = 0; cut <= run.Clock.Now; cut++)
        {
            var last = cut - 1;
            await CheckAsync(provider, run, cut, 0, static (_, _) => true, "all there");
            await CheckAsync(provider, run, cut, 1, static (_, _) => false, "all gone");
            await CheckAsync(provider, run, cut, 2, (moment, _) => moment == last, "only the last there");
            await CheckAsync(provider, run, cut, 3, (moment, _) => moment != last, "only the last gone");
            await CheckAsync(provider, run, cut, 0, (_, _) => random.Next(2) == 0, "torn at random");
            await CheckAsync(provider, run, cut, 2, (_, _) => random.Next(2) == 0, "torn at random");
        }
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

    /// <summary>VDI and VHD are laid out tightly, so that thousands of crashes are replayed in seconds.</summary>
    private static async Task<string> MakeLeafAsync(MemoryProvider provider, string kind, Random random, int blockSize, string? parent, byte[] content)
    {
        if (kind.StartsWith("vmdk", StringComparison.Ordinal))
        {
            return await TestImages.MakeAsync(provider, kind, "/d/leaf", Capacity, parent);
        }

        var link = parent is null ? default : await TestChains.IdentifyAsync(provider, parent);
        var path = $"/d/leaf.{kind}";
        provider[path] = kind == "vdi" ? TightVdi(blockSize, link) : TightVhd(random, blockSize, link, content);
        return path;
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

    /// <summary>Runs random operations on recording stores; the versions that each sector may have at each moment go along.</summary>
    private static async Task<Recorded> RecordAsync(MemoryProvider provider, string path, Random random, byte[] initial)
    {
        var run = new Recorded(provider, path, initial);
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

    private static async Task CheckAsync(MemoryProvider provider, Recorded run, int cut, int turn, Func<int, long, bool> keep, string how)
    {
        foreach (var store in run.Stores)
        {
            provider[store.Name] = PowerCut.Replay(store, cut, keep);
        }

        var before = run.Stores.Select(s => provider[s.Name]).ToArray();
        await CheckContentAsync(provider, run, cut, how);
        Assert.All(run.Stores.Zip(before), p => Assert.True(provider[p.First.Name].AsSpan().SequenceEqual(p.Second), $"cut after operation {cut} ({how}): opening changed {p.First.Name}"));
        if (Path.GetExtension(run.Path) == ".vdi")
        {
            CheckCount(run.Path, provider[run.Path], cut, how);
        }

        // Each way to be cut has its turn at every fourth moment.
        if (cut % 4 == turn)
        {
            await CheckGoesOnAsync(provider, run.Path, cut, how);
        }
    }

    private static async Task CheckContentAsync(MemoryProvider provider, Recorded run, int cut, string how)
    {
        DiskChain chain;
        try
        {
            chain = await TestChains.OpenAsync(provider, run.Path, readOnly: cut % 2 == 0);
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

    /// <summary>The next session writes, whatever was lost, and leaves an image without findings.</summary>
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
        await again.Layers[^1].ExamineAsync(default);

        // File space that a crash cost a VDI is worth a remark, no more.
        Assert.DoesNotContain(again.Layers[^1].Describe().Diagnostics, d => d.Code != "allocated_count");
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

    /// <summary>A recorded run on an image of one file or several; from here on the provider gives out stores that record.</summary>
    private sealed class Recorded
    {
        private readonly List<(int Number, int At, byte[] Data)>[] _versions = Enumerable.Range(0, Capacity / Sector).Select(_ => new List<(int, int, byte[])>()).ToArray();
        private readonly List<(int At, byte[] Content, int Versions)> _flushes;
        private int _noted;

        public Recorded(MemoryProvider provider, string path, byte[] initial)
        {
            Path = path;
            _flushes = [(0, (byte[])initial.Clone(), 0)];
            provider.Wrap = s => !s.CanWrite ? s : Stores.Find(r => r.Name == s.Name) ?? Add(new RecordingStore(s.Name, provider[s.Name], Clock));
        }

        public string Path { get; }

        public RecordingClock Clock { get; } = new();

        public List<RecordingStore> Stores { get; } = [];

        /// <summary>The sectors of a write that is about to start may be on disk from the next store operation on.</summary>
        public void Note(int offset, byte[] data)
        {
            for (var i = 0; i < data.Length; i += Sector)
            {
                _versions[(offset + i) / Sector].Add((_noted++, Clock.Now, data.AsSpan(i, Sector).ToArray()));
            }
        }

        public void FlushEnded(byte[] content) => _flushes.Add((Clock.Now, (byte[])content.Clone(), _noted));

        public bool Allows(int cut, int sector, ReadOnlySpan<byte> found)
        {
            var flush = _flushes.Last(f => f.At <= cut);
            if (found.SequenceEqual(flush.Content.AsSpan(sector * Sector, Sector)))
            {
                return true;
            }

            foreach (var (number, at, data) in _versions[sector])
            {
                if (number >= flush.Versions && at < cut && found.SequenceEqual(data))
                {
                    return true;
                }
            }

            return false;
        }

        private RecordingStore Add(RecordingStore store)
        {
            Stores.Add(store);
            return store;
        }
    }
}
