using BlockMount.Core.Chain;
using BlockMount.Core.Devices;
using BlockMount.Core.Formats;
using BlockMount.Core.Tests.Chain;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Live;

/// <summary>A live chain over files in memory, with an array that says what its disk must read as.</summary>
internal sealed class LiveBench : IAsyncDisposable
{
    private int _made;

    private LiveBench(CrashHost host, LiveChain chain, Random random)
    {
        (Host, Chain, Random) = (host, chain, random);
        Model = new byte[chain.Length];
    }

    public CrashHost Host { get; }

    public LiveChain Chain { get; private set; }

    public Random Random { get; }

    public byte[] Model { get; private set; }

    /// <summary>Makes a base image of a kind of <see cref="TestImages"/> and opens it.</summary>
    public static async Task<LiveBench> MakeAsync(string kind, int capacity, int seed)
    {
        var files = new MemoryProvider();
        var path = await TestImages.MakeAsync(files, kind, "/d/L0", capacity);
        var host = new CrashHost(files);
        return new LiveBench(host, await OpenAsync(host, path), new Random(seed));
    }

    public static async Task<LiveChain> OpenAsync(CrashHost host, string leaf, bool readOnly = false)
    {
        var opener = new ChainOpener(host);
        var options = new ChainOpenOptions { ReadOnly = readOnly };
        return new LiveChain(await opener.OpenAsync(leaf, options), opener, options);
    }

    /// <summary>Stacks a new image of a format and block size, such as <c>vdi-64k</c>, and returns its path.</summary>
    public async Task<string> StackAsync(string kind, CancellationToken cancellationToken = default)
    {
        var (format, options) = OptionsOf(kind);
        var path = $"/d/S{++_made}.{format.Name}";
        await Chain.StackAsync(path, format, options, cancellationToken);
        return path;
    }

    public static (ImageFormat Format, Func<ImageCreateOptions, ImageCreateOptions> Choose) OptionsOf(string kind)
    {
        var parts = kind.Split('-');
        long? block = parts.Length == 1 ? null : parts[1] switch { "4k" => 4096, "64k" => 65536, "2m" => 2 << 20, _ => throw new ArgumentException(kind, nameof(kind)) };
        return (FormatRegistry.ByName(parts[0]), o => o with { BlockSize = block });
    }

    /// <summary>A random change of the disk and the model.</summary>
    public async Task ChangeAsync()
    {
        var most = Math.Min(Model.Length, Random.Next(4) == 0 ? 300_000 : 20_000);
        var length = Random.Next(1, most + 1);
        var offset = Random.Next(0, Model.Length - length + 1);
        if (Random.Next(3) == 0)
        {
            (offset, length) = (offset / 65536 * 65536, Math.Min(Model.Length - (offset / 65536 * 65536), 65536 * Random.Next(1, 4)));
        }

        switch (Random.Next(6))
        {
            case 0:
                await Chain.ZeroAsync(offset, length, Random.Next(3) == 0 ? WriteOptions.KeepAllocated : WriteOptions.None);
                Model.AsSpan(offset, length).Clear();
                break;
            case 1:
                await Chain.TrimAsync(offset, length);
                await Chain.ReadAsync(offset, Model.AsMemory(offset, length));
                break;
            default:
                var data = TestChains.RandomBytes(Random, length);
                await Chain.WriteAsync(offset, data);
                data.CopyTo(Model, offset);
                break;
        }
    }

    public async Task ChangeAsync(int times)
    {
        for (var i = 0; i < times; i++)
        {
            await ChangeAsync();
        }
    }

    /// <summary>The disk reads as the model, the host has the files of the chain and no others, and only the chain's are open.</summary>
    public async Task CheckAsync()
    {
        var found = new byte[Chain.Length];
        await Chain.ReadAsync(0, found);
        AssertSame(Model, found);
        Assert.Equal(Chain.Layers.SelectMany(static l => l.Files).Order(StringComparer.Ordinal), Host.Paths);
        Assert.Equal(Host.Paths.Count(), Host.OpenStores);
        Assert.All(Chain.Layers.Take(Chain.Layers.Count - 1), static l => Assert.False(l.CanWrite));
    }

    /// <summary>Closes everything, opens it again and looks once more; also what the images say of themselves.</summary>
    public async Task ReopenAsync()
    {
        await Chain.FlushAsync();
        var leaf = Chain.Layers[^1].Path;
        await Chain.DisposeAsync();
        Assert.Equal(0, Host.OpenStores);
        Chain = await OpenAsync(Host, leaf);
        await CheckAsync();
        foreach (var layer in Chain.Layers)
        {
            await layer.ExamineAsync(default);
            Assert.DoesNotContain(layer.Describe().Diagnostics, static d => d.Severity != Severity.Info);
        }
    }

    public static void AssertSame(ReadOnlySpan<byte> expected, ReadOnlySpan<byte> found)
    {
        if (!expected.SequenceEqual(found))
        {
            Assert.Fail($"byte {expected.CommonPrefixLength(found)} of {expected.Length} differs");
        }
    }

    public async ValueTask DisposeAsync()
    {
        await Chain.DisposeAsync();
        Assert.Equal(0, Host.OpenStores);
    }
}
