using BlockMount.Core.Chain;
using BlockMount.Core.Formats;
using BlockMount.Core.Tests.Chain;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Formats;

/// <summary>What other programs make of an image whose parent was changed.</summary>
public sealed class RelinkPeerTests : IDisposable
{
    private const int Capacity = 6 << 20;
    private readonly TempFolder _folder = new();
    private readonly MemoryProvider _provider = new();

    public RelinkPeerTests() => Peer.Require("qemu-img", "qemu-utils");

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("vmdk")]
    [InlineData("vmdk-split")]
    public async Task Qemu_follows_a_vmdk_to_its_new_parent_and_reads_the_same_bytes(string kind)
    {
        var path = await MakeAsync(kind);
        await using (var image = await OpenAsync(path))
        {
            await image.RelinkAsync((await TestChains.IdentifyAsync(_provider, "/d/other.vmdk")).ToLink(), "/d/other.vmdk", default);
        }

        byte[] content;
        await using (var chain = await TestChains.OpenAsync(_provider, path, readOnly: true))
        {
            Assert.Equal("/d/other.vmdk", chain.Layers[0].Path);
            content = await TestChains.ReadAllAsync(chain);
        }

        await SaveAsync(content);
        Assert.Contains("other.vmdk", await Peer.RunOkAsync("qemu-img", "info", "--backing-chain", _folder["disk.vmdk"]), StringComparison.Ordinal);
        await Peer.RunOkAsync("qemu-img", "compare", "-f", "vmdk", "-F", "raw", _folder["disk.vmdk"], _folder["content"]);
    }

    [Fact]
    public async Task Qemu_refuses_the_changed_parent_of_a_vmdk_that_takes_it_in_every_state()
    {
        var path = await MakeAsync("vmdk");
        await using (var image = await OpenAsync(path))
        {
            await image.RelinkAsync(new ParentLink((await TestChains.IdentifyAsync(_provider, "/d/base.vmdk")).Uuid, Guid.Empty), "/d/base.vmdk", default);
        }

        await SaveAsync([]);
        await Peer.RunOkAsync("qemu-img", "convert", "-f", "vmdk", "-O", "raw", _folder["disk.vmdk"], _folder["out"]);
        await using (var chain = await TestChains.OpenAsync(_provider, "/d/base.vmdk"))
        {
            await chain.WriteAsync(0, new byte[512]);
            await chain.FlushAsync();
        }

        await (await TestChains.OpenAsync(_provider, path, readOnly: true)).DisposeAsync();
        await SaveAsync([]);
        var refused = await Peer.RunAsync("qemu-img", ["convert", "-f", "vmdk", "-O", "raw", _folder["disk.vmdk"], _folder["out"]]);
        Assert.NotEqual(0, refused.ExitCode);
    }

    [Theory]
    [InlineData("vdi")]
    [InlineData("vmdk")]
    [InlineData("vmdk-split")]
    [InlineData("vhd")]
    [InlineData("vhd-empty")]
    public async Task Qemu_reads_the_base_image_that_a_differencing_one_became(string kind)
    {
        var path = await MakeAsync(kind);
        await using (var image = await OpenAsync(path))
        {
            await image.RelinkAsync(null, null, default);
        }

        byte[] content;
        await using (var chain = await TestChains.OpenAsync(_provider, path, readOnly: true))
        {
            content = await TestChains.ReadAllAsync(chain);
        }

        Assert.Equal(kind != "vhd-empty", content.Any(static b => b != 0));
        await SaveAsync(content);
        var format = kind.StartsWith("vhd", StringComparison.Ordinal) ? "vpc" : kind.Split('-')[0];
        var file = _folder[Path.GetFileName(path)];
        Assert.DoesNotContain("backing file", await Peer.RunOkAsync("qemu-img", "info", "-f", format, file), StringComparison.Ordinal);
        await Peer.RunOkAsync("qemu-img", "compare", "-f", format, "-F", "raw", file, _folder["content"]);
        if (format != "vpc")
        {
            await Peer.RunOkAsync("qemu-img", "check", "-f", format, file);
        }

        // What qemu adds lies behind what the image holds, its headers too.
        Peer.Require("qemu-io", "qemu-utils");
        await Peer.RunOkAsync("qemu-io", "-f", format, "-c", "write -P 0x5a 5M 512k", file);
        _provider[path] = await File.ReadAllBytesAsync(file);
        foreach (var extent in _provider.Paths.Where(static p => p.Contains("-s0", StringComparison.Ordinal)).ToArray())
        {
            _provider[extent] = await File.ReadAllBytesAsync(_folder[Path.GetFileName(extent)]);
        }

        content.AsSpan(5 << 20, 512 << 10).Fill(0x5a);
        await using var again = await TestChains.OpenAsync(_provider, path, readOnly: true);
        Assert.Equal(content, await TestChains.ReadAllAsync(again));
    }

    [Fact]
    public async Task Vhdiinfo_shows_the_new_parent_of_a_vhd()
    {
        Peer.Require("vhdiinfo", "libvhdi-utils");
        var path = await MakeAsync("vhd");
        var identity = await TestChains.IdentifyAsync(_provider, "/d/other.vhd");
        await using (var image = await OpenAsync(path))
        {
            await image.RelinkAsync(identity.ToLink(), "/d/other.vhd", default);
        }

        await SaveAsync([]);
        var text = await Peer.RunOkAsync("vhdiinfo", _folder["disk.vhd"]);
        var plain = new Guid(identity.Uuid.ToByteArray(), bigEndian: true);
        Assert.Contains(plain.ToString(), text, StringComparison.OrdinalIgnoreCase);
        Assert.Contains("other.vhd", text, StringComparison.Ordinal);
    }

    /// <summary>Child <c>disk</c> of <c>base</c>, and a further image <c>other</c>, which differs from that.</summary>
    private async Task<string> MakeAsync(string kind)
    {
        foreach (var (name, seed) in new[] { ("/d/base", 1), ("/d/other", 4) })
        {
            await using var chain = await TestChains.OpenAsync(_provider, await TestImages.MakeAsync(_provider, kind, name, Capacity));
            await chain.WriteAsync(0, TestChains.RandomBytes(new Random(seed), 3 << 20));
            await chain.FlushAsync();
        }

        var path = await TestImages.MakeAsync(_provider, kind, "/d/disk", Capacity, "/d/base." + kind.Split('-')[0]);
        if (kind == "vhd-empty")
        {
            return path;
        }

        await using (var chain = await TestChains.OpenAsync(_provider, path))
        {
            await chain.WriteAsync(70_000, TestChains.RandomBytes(new Random(2), 90_000));
            await chain.FlushAsync();
        }

        if (kind == "vhd")
        {
            // Half of the sectors of the only block are not the image's, whatever its file holds there.
            var block = 512 * System.Buffers.Binary.BinaryPrimitives.ReadInt32BigEndian(_provider[path].AsSpan(1536));
            _provider[path].AsSpan(block, 100).Fill(0x5A);
        }

        return path;
    }

    private async Task SaveAsync(byte[] content)
    {
        foreach (var path in _provider.Paths)
        {
            await File.WriteAllBytesAsync(_folder[Path.GetFileName(path)], _provider[path]);
        }

        await File.WriteAllBytesAsync(_folder["content"], content);
    }

    private ValueTask<ImageLayer> OpenAsync(string path) => new ChainOpener(_provider).OpenImageAsync(path, new ChainOpenOptions());
}
