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

    public static byte[] RandomBytes(Random random, int length)
    {
        var bytes = new byte[length];
        random.NextBytes(bytes);
        return bytes;
    }
}
