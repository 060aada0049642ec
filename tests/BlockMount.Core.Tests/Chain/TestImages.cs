using System.Text;
using BlockMount.Core.Tests.Formats;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Chain;

/// <summary>
/// Kinds of images by short names, such as <c>vmdk-zeroed</c>, so that tests can mix them in a chain. What the program itself does not make
/// is laid out by the builders.
/// </summary>
internal static class TestImages
{
    private const int SplitGrain = 16 * 512;

    /// <summary>Kinds that can have a parent.</summary>
    public static IReadOnlyList<string> Differencing { get; } =
        ["vdi", "vdi-64k", "vdi-2m", "vmdk", "vmdk-4k", "vmdk-zeroed", "vmdk-bare", "vmdk-split", "vhd", "vhd-4k", "vhd-64k"];

    /// <summary>Kinds that can be a parent.</summary>
    public static IReadOnlyList<string> Bases { get; } =
        [.. Differencing, "vdi-fixed", "vmdk-flat", "vmdk-esx", "vmdk-split2g", "vmdk-split2g-flat", "vhd-fixed"];

    /// <summary>Makes an image of a kind, or a child of <paramref name="parent"/>, and returns its path.</summary>
    public static async Task<string> MakeAsync(MemoryProvider provider, string kind, string stem, long capacity, string? parent = null)
    {
        var path = $"{stem}.{kind.Split('-')[0]}";
        switch (kind)
        {
            case "vmdk-split":
                await MakeSplitAsync(provider, path, capacity, parent);
                return path;
            case "vmdk-zeroed":
                await TestChains.CreateAsync(provider, path, capacity, 8192, parent: parent);
                provider[path][4] = 2;
                provider[path][8] |= 4;
                return path;
            case "vmdk-bare":
                await TestChains.CreateAsync(provider, path, capacity, 4096, parent: parent);
                TakeTablesAway(provider[path]);
                return path;
            default:
                var (block, variant) = OptionsOf(kind);
                return await TestChains.CreateAsync(provider, path, capacity, block, variant, parent);
        }
    }

    /// <summary>Whether a differencing image of the kind may end inside a sector; a base never does.</summary>
    public static bool AllowsOddSize(string kind) => !kind.StartsWith("vmdk", StringComparison.Ordinal);

    /// <summary>Makes both directories of a new sparse VMDK name no table.</summary>
    public static void TakeTablesAway(byte[] file)
    {
        var perTable = BitConverter.ToInt64(file, 20) * 512;
        var tables = (int)((BitConverter.ToInt64(file, 12) + perTable - 1) / perTable);
        foreach (var field in new[] { 48, 56 })
        {
            file.AsSpan((int)BitConverter.ToInt64(file, field) * 512, 4 * tables).Clear();
        }
    }

    private static (long? BlockSize, string? Variant) OptionsOf(string kind) => kind switch
    {
        "vdi-fixed" => (null, "fixed"),
        "vmdk-flat" => (null, "fixed"),
        "vmdk-esx" => (null, "esx"),
        "vmdk-split2g" => (null, "split2g"),
        "vmdk-split2g-flat" => (null, "split2g-fixed"),
        "vhd-fixed" => (null, "fixed"),
        _ when kind.EndsWith("-4k", StringComparison.Ordinal) => (4096, null),
        _ when kind.EndsWith("-64k", StringComparison.Ordinal) => (65536, null),
        _ when kind.EndsWith("-2m", StringComparison.Ordinal) => (2 << 20, null),
        _ => (null, null),
    };

    /// <summary>Three or more extents of uneven lengths, as a split disk cut into small pieces.</summary>
    private static async Task MakeSplitAsync(MemoryProvider provider, string path, long capacity, string? parent)
    {
        var identity = parent is null ? default : await TestChains.IdentifyAsync(provider, parent);
        var text = new StringBuilder($"# Disk DescriptorFile\nversion=1\nCID=0badcafe\nparentCID={identity.ContentId ?? uint.MaxValue:x8}\ncreateType=\"twoGbMaxExtentSparse\"\n");
        if (parent is not null)
        {
            text.Append($"parentFileNameHint=\"{Path.GetFileName(parent)}\"\n");
        }

        var third = Math.Max(SplitGrain, capacity / 3 / SplitGrain * SplitGrain);
        for (long at = 0, number = 1; at < capacity; number++)
        {
            var length = Math.Min(capacity - at, Math.Min(512 * SplitGrain, number % 2 == 0 ? third : third + SplitGrain));
            var file = $"{Path.GetFileNameWithoutExtension(path)}-s{number:000}.vmdk";
            provider[Path.Combine(Path.GetDirectoryName(path)!, file)] = new VmdkBuilder { Embedded = false, Capacity = (ulong)length / 512, GrainSize = SplitGrain / 512 }.Build();
            text.Append($"RW {length / 512} SPARSE \"{file}\"\n");
            at += length;
        }

        text.Append($"ddb.uuid.image=\"{Guid.NewGuid()}\"\nddb.uuid.modification=\"{Guid.NewGuid()}\"\n");
        text.Append($"ddb.uuid.parent=\"{identity.Uuid}\"\nddb.uuid.parentmodification=\"{identity.ModificationUuid}\"\n");
        provider[path] = Encoding.ASCII.GetBytes(text.ToString());
    }
}
