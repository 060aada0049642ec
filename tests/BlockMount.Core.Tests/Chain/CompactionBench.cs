using BlockMount.Core.Chain;
using BlockMount.Core.Devices;
using BlockMount.Core.Tests.Formats;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Chain;

/// <summary>Images that are worth compacting, and who uses them meanwhile.</summary>
internal static class CompactionBench
{
    private const int Piece = 4096;
    private const int Sector = 512;

    /// <summary>
    /// Makes a leaf, of a kind of <see cref="TestImages"/> or <c>vhd-partial</c> (blocks that lack sectors), on a parent or none, written to in
    /// no order: with bytes of its own, zeros that take space, and the parent's bytes once more.
    /// </summary>
    /// <returns>Its path and what the disk holds.</returns>
    public static async Task<(string Path, byte[] Content)> MakeAsync(MemoryProvider provider, string parentKind, string leafKind, int capacity, int seed)
    {
        var random = new Random(seed);
        var inherited = new byte[capacity];
        string? parent = null;
        if (parentKind.Length > 0)
        {
            // Of every other seed the parent is smaller than its child.
            var size = seed % 2 == 0 ? capacity : capacity / 4 * 3 / Sector * Sector;
            parent = await TestImages.MakeAsync(provider, parentKind, "/d/L0", size);
            await using var chain = await TestChains.OpenAsync(provider, parent);
            for (var at = 0; at < size; at += 16 * Piece)
            {
                if (random.Next(3) > 0)
                {
                    var data = TestChains.RandomBytes(random, Math.Min(16 * Piece, size - at));
                    data.CopyTo(inherited, at);
                    await chain.WriteAsync(at, data);
                }
            }

            await chain.FlushAsync();
        }

        var content = (byte[])inherited.Clone();
        var path = leafKind == "vhd-partial"
            ? await MakePartialAsync(provider, random, parent, content)
            : await TestImages.MakeAsync(provider, leafKind, "/d/leaf", capacity, parent);
        await using (var chain = await TestChains.OpenAsync(provider, path))
        {
            var unit = (int)Math.Clamp(chain.Layers[^1].UnitSize, Piece, 16 * Piece);
            int[] starts = [.. Enumerable.Range(0, (capacity + unit - 1) / unit).Select(i => i * unit)];
            random.Shuffle(starts);
            foreach (var start in starts)
            {
                var length = Math.Min(unit, capacity - start);
                switch (random.Next(6))
                {
                    case 0:
                        await PutAsync(start, TestChains.RandomBytes(random, length));
                        break;
                    case 1:
                        await PutAsync(start, new byte[length]);
                        break;
                    case 2:
                        await PutAsync(start, inherited[start..(start + length)]);
                        break;
                    case 3:
                        await PutAsync(start, TestChains.RandomBytes(random, Math.Min(length, Sector)));
                        await PutAsync(start, inherited[start..(start + Math.Min(length, Sector))]);
                        break;
                    case 4:
                        content.AsSpan(start, length).Clear();
                        await chain.ZeroAsync(start, length);
                        break;
                    default:
                        break;
                }
            }

            await chain.FlushAsync();

            async Task PutAsync(int at, byte[] data)
            {
                data.CopyTo(content, at);
                await chain.WriteAsync(at, data);
            }
        }

        return (path, content);
    }

    /// <summary>Compacts an image that nobody else uses.</summary>
    public static async Task<CompactionResult> CompactAsync(MemoryProvider provider, string path, CancellationToken cancellation = default)
    {
        await using var chain = await TestChains.OpenAsync(provider, path);
        return await Compaction.RunAsync(chain, NoRangeBar.Instance, progress: null, cancellation);
    }

    public static async Task AssertHoldsAsync(MemoryProvider provider, string path, byte[] content, string what)
    {
        await using var chain = await TestChains.OpenAsync(provider, path);
        await AssertHoldsAsync(chain, content, what);
    }

    public static async Task AssertHoldsAsync(DiskChain chain, byte[] content, string what)
    {
        var found = await TestChains.ReadAllAsync(chain);
        var same = found.AsSpan().CommonPrefixLength(content);
        Assert.True(same == content.Length && found.Length == content.Length, $"{what}: the disk differs from byte {same} on");
    }

    private static async Task<string> MakePartialAsync(MemoryProvider provider, Random random, string? parent, byte[] content)
    {
        const int blockSize = 65536;
        var link = parent is null ? default : await TestChains.IdentifyAsync(provider, parent);
        var builder = new VhdBuilder
        {
            DiskSize = (ulong)content.Length,
            BlockSize = blockSize,
            Type = parent is null ? 3u : 4u,
            Parent = link.Uuid,
            ParentTimeStamp = (uint)link.ChangedAt,
        };
        int[] blocks = [.. Enumerable.Range(0, content.Length / blockSize)];
        random.Shuffle(blocks);
        foreach (var index in blocks.Take(blocks.Length / 2))
        {
            var bitmap = TestChains.RandomBytes(random, blockSize / Sector / 8);
            var kind = random.Next(3);
            var block = kind == 0 ? content.AsSpan(index * blockSize, blockSize).ToArray() : kind == 1 ? new byte[blockSize] : TestChains.RandomBytes(random, blockSize);
            for (var i = 0; i < blockSize / Sector; i++)
            {
                if ((bitmap[i / 8] & (0x80 >> (i % 8))) != 0)
                {
                    block.AsSpan(i * Sector, Sector).CopyTo(content.AsSpan((index * blockSize) + (i * Sector)));
                }
                else
                {
                    // What is not said to be there may be anything.
                    random.NextBytes(block.AsSpan(i * Sector, Sector));
                }
            }

            builder.Blocks.Add((index, bitmap, block));
        }

        provider["/d/leaf.vhd"] = builder.Build();
        return "/d/leaf.vhd";
    }

    /// <summary>
    /// Somebody who uses the disk all the time, except for what is barred: what is written is what the disk holds already, so that it must read the
    /// same at any moment, whatever has become durable.
    /// </summary>
    public sealed class BusyBar(DiskChain chain, byte[] content, int seed) : IRangeBar
    {
        private readonly Random _random = new(seed);

        /// <summary>Ranges that were barred so far.</summary>
        public int Bars { get; private set; }

        public async ValueTask<IAsyncDisposable> BarAsync(long offset, long length, CancellationToken cancellationToken)
        {
            Bars++;
            await UseAsync((0, 0));
            return new Barred(this, (offset, offset + length));
        }

        private async ValueTask UseAsync((long From, long To) barred)
        {
            for (var i = _random.Next(4); i > 0; i--)
            {
                var length = Math.Min(content.Length, _random.Next(2) == 0 ? Sector * _random.Next(1, 9) : 65536);
                var at = _random.Next((content.Length - length + Sector) / Sector) * Sector;
                length = Math.Min(length, content.Length - at);
                if (at < barred.To && at + length > barred.From)
                {
                    continue;
                }

                switch (_random.Next(5))
                {
                    case 0:
                        await chain.FlushAsync();
                        break;
                    case 1 when !content.AsSpan(at, length).ContainsAnyExcept((byte)0):
                        await chain.ZeroAsync(at, length, _random.Next(2) == 0 ? WriteOptions.KeepAllocated : WriteOptions.None);
                        break;
                    case 2:
                        var found = new byte[length];
                        await chain.ReadAsync(at, found);
                        Assert.True(content.AsSpan(at, length).SequenceEqual(found), $"bytes {at} to {at + length - 1} read wrongly while the image is compacted");
                        break;
                    default:
                        await chain.WriteAsync(at, content.AsMemory(at, length));
                        break;
                }
            }
        }

        private sealed class Barred(BusyBar owner, (long From, long To) range) : IAsyncDisposable
        {
            public ValueTask DisposeAsync() => owner.UseAsync(range);
        }
    }
}
