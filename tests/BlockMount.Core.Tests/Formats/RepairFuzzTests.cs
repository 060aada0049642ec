using BlockMount.Core.Chain;
using BlockMount.Core.Errors;
using BlockMount.Core.Tests.Chain;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Formats;

/// <summary>Whatever was damaged: a repair refuses with a sentence and changes nothing, or leaves an image that opens for writing and needs no other.</summary>
public sealed class RepairFuzzTests
{
    [Theory]
    [InlineData("vdi-64k")]
    [InlineData("vhd-64k")]
    [InlineData("vhd-4k")]
    [InlineData("vmdk-4k")]
    [InlineData("vmdk")]
    [InlineData("vmdk-zeroed")]
    public Task A_damaged_image_is_refused_unchanged_or_opens_after_its_repair(string kind) => FreshSeeds.RunAsync(async seed =>
    {
        var random = new Random(seed);
        var origin = new MemoryProvider();
        var (path, _) = await CompactionBench.MakeAsync(origin, "", kind, 40 * 65536, seed);
        var file = origin[path];
        int[] places = [.. PlacesOf(kind, file)];
        var (repaired, refused) = (0, 0);
        for (var round = 0; round < 400; round++)
        {
            var damaged = Damage(random, file, places);
            var provider = new MemoryProvider { [path] = damaged };
            var opener = new ChainOpener(provider);
            try
            {
                var told = await opener.RepairAsync(path, new ChainOpenOptions { ReadOnly = true });
                Assert.Equal(damaged, provider[path]);
                Assert.Equal(told, await opener.RepairAsync(path, new ChainOpenOptions()));
                repaired += told.Count > 0 ? 1 : 0;
            }
            catch (DiskException e)
            {
                Assert.NotEqual(ErrorKind.Io, e.Kind);
                Assert.Equal(damaged, provider[path]);
                refused++;
                continue;
            }

            Assert.Empty(await opener.RepairAsync(path, new ChainOpenOptions { ReadOnly = true }));

            // The damage may have given it a parent.
            await using var chain = new DiskChain([await opener.OpenImageAsync(path, new ChainOpenOptions())]);
            await TestChains.ReadAllAsync(chain);
        }

        Assert.True(repaired > 40 && refused > 0, $"{repaired} repaired, {refused} refused");
    });

    /// <summary>Bytes where a change may matter: header, tables and the end.</summary>
    private static IEnumerable<int> PlacesOf(string kind, byte[] file)
    {
        var (from, length) = kind.Split('-')[0] switch
        {
            "vdi" => ((int)BitConverter.ToUInt32(file, 340), 160),
            "vhd" => (1536, kind == "vhd-4k" ? 2560 : 160),
            _ => ((int)BitConverter.ToUInt64(file, 56) * 512, 4096),
        };
        return Enumerable.Range(from, length).Concat(Enumerable.Range(from, length)).Concat(Enumerable.Range(0, 600)).Concat(Enumerable.Range(file.Length - 512, 512));
    }

    private static byte[] Damage(Random random, byte[] file, int[] places)
    {
        var damaged = (byte[])file.Clone();
        for (var i = random.Next(1, 4); i > 0; i--)
        {
            var at = places[random.Next(places.Length)];
            switch (random.Next(4))
            {
                case 0:
                    damaged[at] = (byte)random.Next(256);
                    break;
                case 1:
                    damaged[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 2:
                    // An entry as another one.
                    var from = places[random.Next(places.Length)];
                    damaged.AsSpan(from / 4 * 4, 4).CopyTo(damaged.AsSpan(at / 4 * 4));
                    break;
                default:
                    damaged.AsSpan(at / 4 * 4, Math.Min(4 * random.Next(1, 9), file.Length - (at / 4 * 4))).Fill((byte)(random.Next(2) * 255));
                    break;
            }
        }

        return random.Next(6) == 0 ? damaged[..^random.Next(1, Math.Min(200_000, file.Length / 2))] : damaged;
    }
}
