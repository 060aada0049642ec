using System.Runtime.InteropServices;
using BlockMount.Core.Chain;
using BlockMount.Core.Formats;
using BlockMount.Core.Storage;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Chain;

/// <summary>Makes chains in a <see cref="MemoryProvider"/>.</summary>
internal static class TestChains
{
    /// <summary>Creates an image of the format that its extension names, or a child of <paramref name="parent"/>, and returns its path.</summary>
    public static async Task<string> CreateAsync(
        MemoryProvider provider, string path, long capacity, long? blockSize = 1 << 20, string? variant = null, string? parent = null)
    {
        ParentLink? link = null;
        if (parent is not null)
        {
            link = (await IdentifyAsync(provider, parent)).ToLink() with { NameHint = Path.GetFileName(parent) };
        }

        await using var created = await provider.CreateAsync(path);
        await FormatRegistry.ByExtension(path)!.CreateAsync(
            created,
            new ImageContext(provider),
            new ImageCreateOptions { Capacity = capacity, BlockSize = blockSize, Variant = variant, Parent = link, ParentPath = parent },
            default);
        return path;
    }

    public static async Task<ImageIdentity> IdentifyAsync(MemoryProvider provider, string path)
    {
        await using var store = await provider.OpenAsync(path, StoreAccess.Probe);
        return (await FormatRegistry.ByExtension(path)!.ReadLinksAsync(store, default))!.Value.Identity;
    }

    public static ValueTask<DiskChain> OpenAsync(MemoryProvider provider, string leaf, bool readOnly = false) =>
        new ChainOpener(provider).OpenAsync(leaf, new ChainOpenOptions { ReadOnly = readOnly });

    public static async Task<byte[]> ReadAllAsync(DiskChain chain)
    {
        var content = new byte[chain.Length];
        await chain.ReadAsync(0, content);
        return content;
    }

    /// <summary>Bytes that follow from one number of <paramref name="random"/>; filling by <see cref="Random.NextBytes(byte[])"/> would take most of a test's time.</summary>
    public static byte[] RandomBytes(Random random, int length)
    {
        var numbers = new ulong[(length + 7) / 8];
        var state = (ulong)random.NextInt64();
        for (var i = 0; i < numbers.Length; i++)
        {
            state += 0x9E3779B97F4A7C15;
            var mixed = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9;
            numbers[i] = mixed ^ (mixed >> 27);
        }

        return MemoryMarshal.AsBytes<ulong>(numbers)[..length].ToArray();
    }
}
