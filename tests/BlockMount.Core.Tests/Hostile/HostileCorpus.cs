using System.Buffers.Binary;
using System.Text;
using BlockMount.Core.Formats;
using BlockMount.Core.Tests.Chain;
using BlockMount.Core.Tests.Formats;
using BlockMount.Core.Tests.Machines;
using BlockMount.Core.Tests.Partitions;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Hostile;

/// <summary>Small good images of every format and variant. The same bytes in every run.</summary>
internal static class HostileCorpus
{
    private const string Folder = "/d/";
    private static readonly Guid One = new("11111111-1111-4111-8111-111111111111");
    private static readonly Guid Two = new("22222222-2222-4222-8222-222222222222");
    private static readonly Guid Three = new("33333333-3333-4333-8333-333333333333");

    public static async Task<HostileSeed[]> MakeAsync() =>
    [
        .. Vdi(), .. await CreatedAsync(), .. VmdkSparse(), .. VmdkFiles(), .. VmdkText(), .. Vhd(), .. Raw(), .. Machines(),
    ];

    private static IEnumerable<HostileSeed> Vdi()
    {
        const uint block = 65536;
        foreach (var (name, version, size, type, extra) in new[]
        {
            ("vdi-0", 2u, 0u, 1u, 0u), ("vdi-1.1", 0x10001u, 384u, 1u, 0u), ("vdi-1.1+", 0x10001u, 400u, 1u, 0u),
            ("vdi-fixed", 0x10001u, 400u, 2u, 0u), ("vdi-extra", 0x10001u, 400u, 1u, 512u),
        })
        {
            var builder = new VdiBuilder { Version = version, HeaderSize = size, Type = type, BlockSize = block, BlockExtra = extra, DiskSize = (4 * block) - 1024, Uuid = One, Modify = Two };
            for (var i = 0; i < (type == 2 ? 4 : 2); i++)
            {
                builder.Entries[type == 2 ? i : 2 - (2 * i)] = (uint)i;
                builder.Blocks[(uint)i] = Pattern(i, (int)block);
            }

            if (type != 2)
            {
                builder.Entries[1] = 0xFFFFFFFE;
            }

            yield return Single(name, "vdi", "a.vdi", builder.Build(), (64, 448), (version == 2 ? 420 : 512, 16));
        }

        var parent = new VdiBuilder { BlockSize = block, DiskSize = 4 * block, Uuid = One, Modify = Two, Entries = { [0] = 1, [2] = 0 }, Blocks = { [0] = Pattern(5, (int)block), [1] = Pattern(6, (int)block) } };
        var child = new VdiBuilder { BlockSize = block, DiskSize = 4 * block, Type = 4, Uuid = Three, Modify = Two, Linkage = One, ParentModify = Two, Entries = { [0] = 0, [3] = 0xFFFFFFFE }, Blocks = { [0] = Pattern(7, (int)block) } };
        var files = new Dictionary<string, byte[]> { [Folder + "parent.vdi"] = parent.Build(), [Folder + "child.vdi"] = child.Build() };
        yield return new("vdi-child", "vdi", Folder + "child.vdi", Folder + "child.vdi", files, (64, 448), (512, 16));
        yield return new("vdi-parent", "vdi", Folder + "child.vdi", Folder + "parent.vdi", files, (64, 448), (512, 16));
    }

    /// <summary>What this program itself makes, with the parts that are random in a new image set to known values.</summary>
    private static async Task<HostileSeed[]> CreatedAsync()
    {
        var provider = new MemoryProvider();
        foreach (var (name, variant, block) in new[]
        {
            ("a.vdi", "dynamic", 65536L), ("a.vhd", "dynamic", 4096L), ("fixed.vhd", "fixed", 0L), ("a.vmdk", "dynamic", 4096L), ("fixed.vmdk", "fixed", 0L), ("split.vmdk", "split2g", 8192L),
        })
        {
            await using (var store = await provider.CreateAsync(Folder + name))
            {
                await FormatRegistry.ByExtension(name)!.CreateAsync(
                    store, new ImageContext(provider), new ImageCreateOptions { Capacity = 300 << 10, Variant = variant, BlockSize = block == 0 ? null : block, Uuid = One }, default);
            }

            await using var chain = await TestChains.OpenAsync(provider, Folder + name);
            await chain.WriteAsync(10_000, Pattern(name.Length, 30_000));
            await chain.WriteAsync(200_000, Pattern(name.Length + 1, 60_000));
            await chain.FlushAsync();
        }

        foreach (var path in provider.Paths.ToArray())
        {
            provider[path] = Known(path, provider[path]);
        }

        return
        [
            Single("created-vdi", "vdi", "a.vdi", provider[Folder + "a.vdi"], (64, 448), (1 << 20, 20)),
            Single("created-vhd", "vhd", "a.vhd", provider[Folder + "a.vhd"], (0, 88), (512, 48), (1536, 300)) with { Seal = HostileSeals.Vhd },
            Single("created-vhd-fixed", "vhd", "a.vhd", provider[Folder + "fixed.vhd"], (300 << 10, 88)) with { Seal = HostileSeals.Vhd },
            Single("created-vmdk", "vmdk", "a.vmdk", provider[Folder + "a.vmdk"], (0, 80), (21 * 512, 4 + 512 + 300)) with { Text = (512, 20 * 512), Seal = HostileSeals.Vmdk },
            new("created-vmdk-flat", "vmdk", Folder + "fixed.vmdk", Folder + "fixed.vmdk", Both(provider, "fixed.vmdk", "fixed-flat.vmdk"), (0, 300)) { Text = (0, 4096) },
            new("created-vmdk-split", "vmdk", Folder + "split.vmdk", Folder + "split-s001.vmdk", Both(provider, "split.vmdk", "split-s001.vmdk"), (0, 80), (512, 5000)) { Seal = HostileSeals.Vmdk },
        ];
    }

    private static IEnumerable<HostileSeed> VmdkSparse()
    {
        foreach (var (name, flags, footer) in new[]
        {
            ("vmdk-sparse", 3u, false), ("vmdk-zeroed-grains", 7u, false), ("vmdk-one-table", 1u, false), ("vmdk-stream", 0x30001u, true), ("vmdk-compressed", 0x10001u, false),
        })
        {
            var builder = new VmdkBuilder { Flags = flags, Footer = footer, Compression = (ushort)(flags >> 16), CreateType = flags > 0xFFFF ? "streamOptimized" : "monolithicSparse", GtesPerGt = 128 };
            if (flags > 0xFFFF)
            {
                builder.Version = 3;
                builder.Compression = 1;
            }

            for (var i = 0; i < 6; i++)
            {
                builder.Grains.Add(((i * i) + 1, Pattern(i, 8192)));
            }

            if ((flags & 4) != 0)
            {
                (builder.Entries[4], builder.RedundantEntries[4]) = (1, 1);
            }

            var file = builder.Build();
            (int, int)[] hot = [(0, 80), (22 * 512, 4), (23 * 512, 4), (24 * 512, 512), (25 * 512, 512)];
            if (flags > 0xFFFF)
            {
                hot = [.. hot, (32 * 512, 16), .. footer ? [(file.Length - 1536, 16), (file.Length - 1024, 80)] : Array.Empty<(int, int)>()];
            }

            yield return Single(name, "vmdk", "test.vmdk", file, hot) with { Text = (512, 20 * 512), Seal = HostileSeals.Vmdk };
        }
    }

    private static IEnumerable<HostileSeed> VmdkFiles()
    {
        var cow = new byte[(37 + 8) * 512];
        foreach (var (at, value) in new[] { (0, 0x44574F43), (4, 1), (8, 3), (12, 1600), (16, 1), (20, 4), (24, 1), (4 * 512, 5), ((5 * 512) + 28, 37), ((5 * 512) + 32, 38) })
        {
            BinaryPrimitives.WriteInt32LittleEndian(cow.AsSpan(at), value);
        }

        var parent = new VmdkBuilder { Capacity = 1600 };
        parent.Grains.Add((3, Pattern(3, 8192)));
        var files = new Dictionary<string, byte[]>
        {
            [Folder + "base.vmdk"] = parent.Build(),
            [Folder + "delta.vmdk"] = cow,
            [Folder + "leaf.vmdk"] = Encoding.ASCII.GetBytes("# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=0badcafe\ncreateType=\"vmfsSparse\"\nparentFileNameHint=\"base.vmdk\"\nRW 1600 VMFSSPARSE \"delta.vmdk\"\n"),
        };
        yield return new("vmdk-cowd", "vmdk", Folder + "leaf.vmdk", Folder + "delta.vmdk", files, (0, 32), (4 * 512, 4), (5 * 512, 64));
        yield return new("vmdk-cowd-text", "vmdk", Folder + "leaf.vmdk", Folder + "leaf.vmdk", files, (0, 150)) { Text = (0, 4096) };

        var se = new VmdkSeBuilder { Capacity = 100 * 8 };
        se.Grains.AddRange([(3, Pattern(1, 4096)), (0, Pattern(2, 4096)), (99, Pattern(3, 4096))]);
        se.Entries[4] = 0x2000000000000000;
        se.Entries[5] = 0x1000000000000000;
        files = new()
        {
            [Folder + "se.vmdk"] = se.Build(),
            [Folder + "leaf.vmdk"] = Encoding.ASCII.GetBytes("# Disk DescriptorFile\nversion=3\nCID=1\nparentCID=ffffffff\ncreateType=\"seSparse\"\nRW 800 SESPARSE \"se.vmdk\"\n"),
        };
        yield return new("vmdk-sesparse", "vmdk", Folder + "leaf.vmdk", Folder + "se.vmdk", files, (0, 192), (512, 16), (4 * 512, 8), (5 * 512, 48));

        var bare = new VmdkBuilder { Flags = 3, GtesPerGt = 128 }.Build();
        TestImages.TakeTablesAway(bare);
        yield return Single("vmdk-bare", "vmdk", "test.vmdk", bare, (0, 80), (21 * 512, 16)) with { Text = (512, 20 * 512), Seal = HostileSeals.Vmdk };

        var child = new VmdkBuilder { Extra = "parentFileNameHint=\"base.vmdk\"\n", Flags = 7 };
        child.Grains.Add((9, Pattern(9, 8192)));
        var bytes = Encoding.Latin1.GetBytes(Encoding.Latin1.GetString(child.Build()).Replace("parentCID=ffffffff", "parentCID=0badcafe", StringComparison.Ordinal));
        files = new() { [Folder + "base.vmdk"] = parent.Build(), [Folder + "test.vmdk"] = bytes };
        yield return new("vmdk-child", "vmdk", Folder + "test.vmdk", Folder + "test.vmdk", files, (0, 80), (22 * 512, 8192)) { Text = (512, 20 * 512), Seal = HostileSeals.Vmdk };
        yield return new("vmdk-parent", "vmdk", Folder + "test.vmdk", Folder + "base.vmdk", files, (0, 80), (22 * 512, 4096)) { Text = (512, 20 * 512) };
    }

    private static IEnumerable<HostileSeed> VmdkText()
    {
        var sparse = new VmdkBuilder { Embedded = false, Flags = 1, GtesPerGt = 128, Capacity = 160 };
        sparse.Grains.Add((2, Pattern(2, 8192)));
        var text = "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"custom\"\n\n# Extent description\nRW 160 SPARSE \"s.vmdk\"\n"
            + "RW 100 FLAT \"f.vmdk\" 8\nRDONLY 20 FLAT \"f.vmdk\" 0\nNOACCESS 4 FLAT \"n.vmdk\" 0\nRW 60 ZERO\n\n#DDB\nddb.virtualHWVersion = \"4\"\nddb.geometry.cylinders=\"10\"\n"
            + "ddb.geometry.heads=\"16\"\nddb.geometry.sectors=\"63\"\nddb.uuid.image=\"11111111-1111-4111-8111-111111111111\"\nddb.uuid.modification=\"{22222222-2222-4222-8222-222222222222}\"\nddb.comment=\"a\\nb\"\n";
        var files = new Dictionary<string, byte[]> { [Folder + "t.vmdk"] = Encoding.ASCII.GetBytes(text), [Folder + "s.vmdk"] = sparse.Build(), [Folder + "f.vmdk"] = Pattern(4, 108 * 512) };
        yield return new("vmdk-descriptor", "vmdk", Folder + "t.vmdk", Folder + "t.vmdk", files, (0, text.Length)) { Text = (0, 4096) };
        var plain = text.Replace("RDONLY 20 FLAT \"f.vmdk\" 0\n", "", StringComparison.Ordinal);
        files = new(files) { [Folder + "t.vmdk"] = Encoding.ASCII.GetBytes(plain) };
        yield return new("vmdk-descriptor-writable", "vmdk", Folder + "t.vmdk", Folder + "t.vmdk", files, (0, plain.Length)) { Text = (0, 4096) };
    }

    private static IEnumerable<HostileSeed> Vhd()
    {
        const int block = 8192;
        var dynamic = new VhdBuilder { BlockSize = block, DiskSize = (12 * block) - 512, Uuid = One, Creator = "vpc" };
        dynamic.Blocks.Add((3, Bits(0xFF, 0xFF), Pattern(1, block)));
        dynamic.Blocks.Add((0, Bits(0xF0, 0x0F), Pattern(2, block)));
        dynamic.Blocks.Add((11, Bits(0xFF, 0x80), Pattern(3, block)));
        var file = dynamic.Build();
        var bitmap = (int)dynamic.FirstBlock;
        yield return Single("vhd-dynamic", "vhd", "a.vhd", file, (0, 88), (512, 64), (1536, 48), (bitmap, 4)) with { Seal = HostileSeals.Vhd };
        yield return Single("vhd-footer", "vhd", "a.vhd", file, (file.Length - 512, 88), (0, 88)) with { Seal = HostileSeals.Vhd };

        var child = new VhdBuilder { BlockSize = block, DiskSize = 12 * block, Type = 4, Uuid = Three, Parent = One, ParentTimeStamp = 100, ParentName = "a.vhd" };
        child.Locators.Add(("W2ru", 512, Encoding.Unicode.GetBytes(".\\a.vhd")));
        child.Locators.Add(("MacX", 512, Encoding.UTF8.GetBytes("file:///d/a%2Evhd")));
        child.Blocks.Add((0, Bits(0x0F, 0), Pattern(8, block)));
        child.Blocks.Add((5, Bits(0xFF, 0xFF), Pattern(9, block)));
        var files = new Dictionary<string, byte[]> { [Folder + "a.vhd"] = file, [Folder + "b.vhd"] = child.Build() };
        (int, int)[] hot = [(0, 88), (512, 64), (512 + 576, 60), (1536, 48), ((int)child.FirstBlock, 4)];
        yield return new("vhd-child", "vhd", Folder + "b.vhd", Folder + "b.vhd", files, hot) { Seal = HostileSeals.Vhd };
        yield return new("vhd-parent", "vhd", Folder + "b.vhd", Folder + "a.vhd", files, (0, 88), (512, 64), (1536, 48)) { Seal = HostileSeals.Vhd };

        var plain = new VhdBuilder { Type = 2, DiskSize = 64 << 10, Uuid = Two };
        yield return Single("vhd-fixed", "vhd", "a.vhd", plain.Build(Pattern(1, 64 << 10)), (64 << 10, 88), (0, 512)) with { Seal = HostileSeals.Vhd };
        plain.FooterLength = 511;
        yield return Single("vhd-fixed-511", "vhd", "a.vhd", plain.Build(Pattern(1, 64 << 10)), (64 << 10, 88)) with { Seal = HostileSeals.Vhd };

        byte[] Bits(byte first, byte second) => [first, second, .. new byte[dynamic.BitmapSize - 2]];
    }

    private static IEnumerable<HostileSeed> Raw()
    {
        var mbr = new SparseDisk(128 << 10);
        mbr.PutEntry(0, 0, 0x83, 8, 40, 0x80);
        mbr.PutEntry(0, 1, 0x0F, 64, 160);
        for (uint hop = 0; hop < 6; hop++)
        {
            mbr.PutEntry(64 + (hop * 16), 0, 0x83, 1, 8);
            if (hop < 5)
            {
                mbr.PutEntry(64 + (hop * 16), 1, 0x05, (hop + 1) * 16, 16);
            }
        }

        yield return Single("raw-mbr", "raw", "a.img", mbr.Get(0, (int)mbr.Length), (440, 72), ((64 * 512) + 446, 66), ((80 * 512) + 446, 66), ((96 * 512) + 446, 66));
        var gpt = new SparseDisk(256 << 10);
        gpt.PutGpt(new GptSketch(new GptSketchEntry(1, 40, 99) { Name = "one" }, new GptSketchEntry(2, 100, 400), new GptSketchEntry(7, 410, 440)));
        var end = (int)gpt.Length;
        yield return Single("raw-gpt", "raw", "a.img", gpt.Get(0, end), (446, 66), (512, 92), (1024, 1024), (end - 512, 92), (end - (33 * 512), 1024)) with { Seal = HostileSeals.Gpt };
    }

    private static IEnumerable<HostileSeed> Machines()
    {
        foreach (var (name, text) in new[] { ("vbox-snapshots", VBoxSamples.Snapshots), ("vbox-two-disks", VBoxSamples.TwoDisks), ("vbox-old", VBoxSamples.NoRegistry) })
        {
            var bytes = Encoding.UTF8.GetBytes(text);
            yield return Single(name, "vbox", "m.vbox", bytes, (0, bytes.Length)) with { Text = (0, 1 << 16) };
        }
    }

    private static HostileSeed Single(string name, string format, string file, byte[] bytes, params (int, int)[] hot) =>
        new(name, format, Folder + file, Folder + file, new Dictionary<string, byte[]> { [Folder + file] = bytes }, hot);

    private static Dictionary<string, byte[]> Both(MemoryProvider provider, string one, string other) =>
        new() { [Folder + one] = provider[Folder + one], [Folder + other] = provider[Folder + other] };

    private static byte[] Pattern(int seed, int length)
    {
        var bytes = TestChains.RandomBytes(new Random(seed), length);
        bytes.AsSpan(length / 2, length / 4).Fill((byte)(seed + 1));
        return bytes;
    }

    private static byte[] Known(string path, byte[] bytes)
    {
        if (path.EndsWith(".vdi", StringComparison.Ordinal))
        {
            Two.TryWriteBytes(bytes.AsSpan(408));
            return bytes;
        }

        if (path.EndsWith(".vmdk", StringComparison.Ordinal))
        {
            var text = Encoding.Latin1.GetString(bytes);
            text = Replaced(Replaced(text, "\nCID=", "0badcafe"), "ddb.uuid.modification=\"", Two.ToString());
            return Encoding.Latin1.GetBytes(text);
        }

        foreach (var at in new[] { 0, bytes.Length - 512 })
        {
            if (bytes.AsSpan(at).StartsWith("conectix"u8))
            {
                BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(at + 24), 100);
                VhdBuilder.Summed(bytes.AsSpan(at, 512).ToArray(), 64).CopyTo(bytes, at);
            }
        }

        return bytes;
    }

    private static string Replaced(string text, string mark, string value)
    {
        var at = text.IndexOf(mark, StringComparison.Ordinal);
        return at < 0 ? text : text[..(at + mark.Length)] + value + text[(at + mark.Length + value.Length)..];
    }
}
