using BlockMount.Core.Chain;
using BlockMount.Core.Formats;
using BlockMount.Core.Tests.Chain;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Formats;

/// <summary>
/// The power goes after every operation of a change of the parent; what no flush had covered is there, gone, or torn at any sector. The image must open for
/// writing with the whole old or the whole new link, names included, hold what it held, and take the change once more.
/// </summary>
public sealed class RelinkPowerCutTests
{
    private const int Capacity = 8 * 65536;

    public static MatrixTheoryData<string, string> Cases { get; } = new(
        ["vdi", "vdi-64k", "vmdk", "vmdk-zeroed", "vmdk-split", "vhd-4k", "vhd-64k", "vhd-64k-tail"], ["other", "stateless", "longer", "none"]);

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task A_power_cut_at_any_moment_leaves_the_whole_old_or_the_whole_new_link(string kind, string change)
    {
        var files = new MemoryProvider();
        var (path, parent) = await MakeAsync(files, kind);
        var identity = await TestChains.IdentifyAsync(files, parent);
        (ParentLink? link, string? parentPath) = change switch
        {
            "other" => ((ParentLink?)new ParentLink(Guid.NewGuid(), Guid.NewGuid(), 0x1234, null, 99), "/d/other" + Path.GetExtension(path)),
            "longer" => (new ParentLink(Guid.NewGuid(), Guid.NewGuid(), 0x1234, null, 99), "/d/" + new string('n', 550) + "/other.x"),
            "stateless" => (new ParentLink(identity.Uuid, Guid.Empty), parent),
            _ => (default(ParentLink?), default(string)),
        };

        var host = new CrashHost(files);
        Found old;
        Found after;
        await using (var image = await OpenAsync(host, path))
        {
            old = await Found.OfAsync(image);
            await image.RelinkAsync(link, parentPath, default);
            after = await Found.OfAsync(image);
        }

        Assert.NotEqual(old, after);
        Assert.Equal(old.Content, after.Content);
        var (random, sawOld, sawNew) = (new Random(1), false, false);
        for (var moment = 0; moment <= host.Clock.Now; moment++)
        {
            var last = moment - 1;
            foreach (var keep in new Func<int, long, bool>[]
            {
                static (_, _) => true, static (_, _) => false, (at, _) => at == last, (at, _) => at != last, (_, _) => random.Next(2) == 0,
                (_, _) => random.Next(2) == 0, (_, _) => random.Next(4) == 0, static (_, sector) => sector % 2 == 0, static (_, sector) => sector % 2 == 1,
            })
            {
                var left = host.At(moment, keep);
                Found found;
                await using (var image = await OpenAsync(left, path))
                {
                    found = await Found.OfAsync(image);
                }

                Assert.True(found == old || found == after, $"at {moment}: {found} is neither {old} nor {after}");
                (sawOld, sawNew) = (sawOld || found == old, sawNew || found == after);
                Assert.False(moment == 0 && found == after);
                Assert.False(moment == host.Clock.Now && found == old, "what was answered as done is not there");
                await GoOnAsync(left, path, found, link, parentPath, after);
            }
        }

        Assert.True(sawOld && sawNew);
    }

    /// <summary>A block more, and the change once more.</summary>
    private static async Task GoOnAsync(MemoryProvider left, string path, Found found, ParentLink? link, string? parentPath, Found after)
    {
        await using (var chain = new DiskChain([await OpenAsync(left, path)]))
        {
            await chain.WriteAsync(7 * 65536, new byte[] { 1, 2, 3 });
            await chain.FlushAsync();
        }

        await using (var image = await OpenAsync(left, path))
        {
            Assert.Equal((found.Link, found.Names), ((await Found.OfAsync(image)).Link, (await Found.OfAsync(image)).Names));
            if (found.Link is not null)
            {
                await image.RelinkAsync(link, parentPath, default);
            }
        }

        await using (var image = await OpenAsync(left, path))
        {
            Assert.Equal(after.Link, (await Found.OfAsync(image)).Link);
        }
    }

    private static async Task<(string Path, string Parent)> MakeAsync(MemoryProvider files, string kind)
    {
        var hasTail = kind.EndsWith("-tail", StringComparison.Ordinal);
        kind = hasTail ? kind[..^5] : kind;
        var parent = await TestImages.MakeAsync(files, kind, "/d/base", Capacity);
        var path = await TestImages.MakeAsync(files, kind, "/d/disk", Capacity, parent);
        await using (var chain = await TestChains.OpenAsync(files, path))
        {
            await chain.WriteAsync(70_000, TestChains.RandomBytes(new Random(2), 90_000));
            await chain.FlushAsync();
        }

        if (kind.StartsWith("vhd", StringComparison.Ordinal))
        {
            var bytes = files[path];
            var block = 70_000 / System.Buffers.Binary.BinaryPrimitives.ReadInt32BigEndian(bytes.AsSpan(512 + 32));
            bytes[512L * System.Buffers.Binary.BinaryPrimitives.ReadUInt32BigEndian(bytes.AsSpan(1536 + (4 * block)))] = 0x5A;
        }

        // File space behind the last block that nothing names, as a session leaves it that was cut off; the footer lies at its end.
        if (hasTail)
        {
            var bytes = files[path];
            files[path] = [.. bytes[..^512], .. new byte[200 * 512], .. bytes[^512..]];
        }

        return (path, parent);
    }

    private static ValueTask<ImageLayer> OpenAsync(Core.Storage.IStoreProvider from, string path) => new ChainOpener(from).OpenImageAsync(path, new ChainOpenOptions());

    /// <param name="Identity">The image's own.</param>
    /// <param name="Link">To its parent.</param>
    /// <param name="Names">By which the parent is looked for.</param>
    /// <param name="Content">Digest of what it holds itself, with what it lacks as zeros.</param>
    private sealed record Found(ImageIdentity Identity, ParentLink? Link, string Names, string Content)
    {
        public static async Task<Found> OfAsync(ImageLayer image)
        {
            var content = new byte[image.Capacity];
            for (long at = 0; at < content.Length;)
            {
                var run = await image.ResolveAsync(at, content.Length - at, default);
                if (run.Kind == RunKind.Data)
                {
                    await run.Store!.ReadAsync(run.StoreOffset, content.AsMemory((int)at, (int)run.Length));
                }

                at += run.Length;
            }

            return new(image.Identity, image.Parent, string.Join('|', image.ParentPaths), Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(content)));
        }
    }
}
