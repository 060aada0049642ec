using BlockMount.Core.Chain;
using BlockMount.Core.Formats;
using BlockMount.Core.Tests.Chain;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Formats;

/// <summary>
/// The power goes after every operation of a change of metadata; what no flush had covered is there, gone, or torn at any sector. The image must
/// open for writing, each field must be the old or the new one, and the disk must read as before.
/// </summary>
public sealed class MetadataPowerCutTests
{
    private const int Capacity = 8 * 65536;
    private static readonly Guid NewId = new("0123abcd-4567-89ab-cdef-0123456789ab");

    [Theory]
    [InlineData("vdi", false, true)]
    [InlineData("vdi", true, true)]
    [InlineData("vhd-64k", false, true)]
    [InlineData("vhd-64k", true, false)]
    [InlineData("vhd-fixed", false, true)]
    [InlineData("vmdk", false, true)]
    [InlineData("vmdk", true, true)]
    [InlineData("vmdk-zeroed", false, true)]
    [InlineData("vmdk-split", false, true)]
    [InlineData("vmdk-split", true, true)]
    [InlineData("vmdk-flat", false, true)]
    public async Task A_power_cut_at_any_moment_leaves_the_old_or_the_new_metadata_and_the_content(string kind, bool isChild, bool isAtOnce)
    {
        var run = await RunAsync(kind, isChild, static old => old.Format == "vhd"
            ? new() { Uuid = NewId, Pchs = new(9, 8, 7), ParentUuid = old.Parent is null ? null : Guid.NewGuid() }
            : new() { Uuid = NewId, Comment = new string('x', old.Format == "vdi" ? 250 : 700), Lchs = new(9, 8, 7), ParentUuid = old.Parent is null ? null : Guid.NewGuid() });
        Assert.True(run.Operations >= 2);
        await run.CutEverywhereAsync(isAtOnce);
    }

    [Theory]
    [InlineData("vmdk")]
    [InlineData("vmdk-split")]
    public async Task A_change_of_one_sector_of_a_descriptor_is_one_write_and_one_flush(string kind)
    {
        var run = await RunAsync(kind, false, static old => new() { Uuid = NewId });
        Assert.Equal(2, run.Operations);
        await run.CutEverywhereAsync(isAtOnce: true);
    }

    private static async Task<Run> RunAsync(string kind, bool isChild, Func<ImageDescription, ImageMetadata> choose)
    {
        var provider = new MemoryProvider();
        var parent = isChild ? await TestImages.MakeAsync(provider, kind, "/d/base", Capacity) : null;
        var path = await TestImages.MakeAsync(provider, kind, "/d/disk", Capacity, parent);
        await using (var chain = await TestChains.OpenAsync(provider, path))
        {
            await chain.WriteAsync(70_000, TestChains.RandomBytes(new Random(1), 90_000));
            await chain.FlushAsync();
        }

        var run = new Run(provider, path);
        await run.RecordAsync(choose);
        return run;
    }

    private sealed class Run(MemoryProvider provider, string path)
    {
        private readonly RecordingClock _clock = new();
        private readonly List<RecordingStore> _stores = [];
        private readonly Dictionary<string, byte[]> _files = provider.Paths.ToDictionary(static p => p, p => (byte[])provider[p].Clone());
        private ImageDescription? _old;
        private ImageDescription? _new;

        /// <summary>The moment at which a file, named first, came in the place of another.</summary>
        private (string From, string To, int Moment)? _replaced;

        public int Operations => _clock.Now;

        public async Task RecordAsync(Func<ImageDescription, ImageMetadata> choose)
        {
            provider.Wrap = store =>
            {
                if (!store.CanWrite)
                {
                    return store;
                }

                var content = _replaced is null && _files.TryGetValue(store.Name, out var bytes) ? bytes : [];
                if (_replaced is not null)
                {
                    return store;
                }

                var recording = new RecordingStore(store.Name, content, _clock);
                _stores.Add(recording);
                return recording;
            };
            provider.Replacing = (from, to) => _clock.Tick(moment => _replaced = (from, to, moment));
            await using var image = await OpenAsync(provider);
            _old = image.Describe();
            await image.SetMetadataAsync(choose(_old), default);
            _new = image.Describe();
            Assert.NotEqual(_old.Identity, _new.Identity);
        }

        public async Task CutEverywhereAsync(bool isAtOnce)
        {
            var random = new Random(1);
            var (sawOld, sawNew) = (false, false);
            for (var cut = 0; cut <= _clock.Now; cut++)
            {
                var last = cut - 1;
                foreach (var keep in new Func<int, long, bool>[]
                {
                    static (_, _) => true, static (_, _) => false, (moment, _) => moment == last, (moment, _) => moment != last,
                    (_, _) => random.Next(2) == 0, (_, _) => random.Next(2) == 0, (_, _) => random.Next(2) == 0,
                    static (_, sector) => sector % 2 == 0, static (_, sector) => sector % 2 == 1,
                })
                {
                    var isNew = await CheckAsync(cut, keep, isAtOnce);
                    (sawOld, sawNew) = (sawOld || !isNew, sawNew || isNew);
                    Assert.False(cut == 0 && isNew);
                    Assert.False(cut == _clock.Now && !isNew, "what was answered as done is not there");
                }
            }

            Assert.True(sawOld && sawNew);
        }

        private async Task<bool> CheckAsync(int cut, Func<int, long, bool> keep, bool isAtOnce)
        {
            var after = new MemoryProvider();
            foreach (var (name, bytes) in _files)
            {
                after[name] = bytes;
            }

            foreach (var store in _stores.Where(static s => s.Operations.Count > 0))
            {
                if (_replaced is { } r && cut > r.Moment)
                {
                    if (store.Name == r.From)
                    {
                        after[r.To] = PowerCut.Replay(store, cut, keep);
                        continue;
                    }

                    if (store.Name == r.To)
                    {
                        continue;
                    }
                }

                after[store.Name] = PowerCut.Replay(store, cut, keep);
            }

            await using var image = await OpenAsync(after);
            var d = image.Describe();
            Either(_old!.Identity.Uuid, _new!.Identity.Uuid, d.Identity.Uuid);
            Either(_old.Parent?.Uuid, _new.Parent?.Uuid, d.Parent?.Uuid);
            Either(_old.Comment, _new.Comment, d.Comment);
            Either(_old.Lchs, _new.Lchs, d.Lchs);
            Either(_old.Pchs, _new.Pchs, d.Pchs);
            Assert.Equal(_old.Identity.ContentId, d.Identity.ContentId);
            var isNew = d.Identity.Uuid == _new.Identity.Uuid;
            if (isAtOnce)
            {
                var whole = isNew ? _new : _old;
                Assert.Equal((whole.Parent, whole.Comment, whole.Lchs, whole.Pchs), (d.Parent, d.Comment, d.Lchs, d.Pchs));
            }

            // The same bytes in the same places, and the next change goes through.
            Assert.Equal(_old.Allocated, d.Allocated);
            var run = await image.ResolveAsync(70_000, 4096, default);
            var bytesThere = new byte[run.Length];
            await run.Store!.ReadAsync(run.StoreOffset, bytesThere);
            Assert.Equal(TestChains.RandomBytes(new Random(1), 90_000).AsSpan(0, (int)run.Length).ToArray(), bytesThere);
            await image.SetMetadataAsync(new() { Uuid = Guid.NewGuid() }, default);
            return isNew;
        }

        private ValueTask<ImageLayer> OpenAsync(MemoryProvider from) => new ChainOpener(from).OpenImageAsync(path, new ChainOpenOptions());

        private static void Either<T>(T old, T now, T found) =>
            Assert.True(Equals(found, old) || Equals(found, now), $"{found} is neither {old} nor {now}");
    }
}
