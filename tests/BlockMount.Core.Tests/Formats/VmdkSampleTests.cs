using System.Security.Cryptography;
using BlockMount.Core.Chain;
using BlockMount.Core.Errors;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Formats;

/// <summary>The VMDKs that VirtualBox made.</summary>
public sealed class VmdkSampleTests
{
    private readonly MemoryProvider _provider = new();

    public VmdkSampleTests()
    {
        foreach (var sample in Samples.All.Where(s => s.Format is "VMDK"))
        {
            _provider["/" + sample.File] = File.ReadAllBytes(Samples.PathOf(sample.File));
        }
    }

    public static TheoryData<string> Images => new(Samples.Vmdk.Select(s => s.File));

    [Theory]
    [MemberData(nameof(Images))]
    public async Task Every_level_of_every_vmdk_made_by_virtualbox_reads_as_virtualbox_shows_it(string file)
    {
        var sample = Samples.Vmdk.Single(s => s.File == file);
        await using var chain = await OpenAsync(sample.File, readOnly: true);

        Assert.Equal(sample.VirtualSize, chain.Length);
        Assert.Equal(sample.Level + 1, chain.Layers.Count);
        Assert.Equal(Guid.Parse(sample.Uuid), chain.Layers[^1].Identity.Uuid);
        foreach (var layer in chain.Layers)
        {
            await layer.ExamineAsync(default);
            Assert.Empty(layer.Describe().Diagnostics);
        }

        // The split disk is larger than any array; the program streams it in VmdkQemuTests.
        if (chain.Length <= 1 << 24)
        {
            Assert.Equal(sample.Sha256, Convert.ToHexStringLower(SHA256.HashData(await Chain.TestChains.ReadAllAsync(chain))));
        }
    }

    [Theory]
    [MemberData(nameof(Images))]
    public async Task Opening_a_vmdk_for_writing_and_closing_changes_no_byte(string file)
    {
        if (file.EndsWith("stream.vmdk", StringComparison.Ordinal))
        {
            var error = await Assert.ThrowsAsync<DiskException>(async () => await OpenAsync(file));
            Assert.Equal(ErrorKind.UnsupportedFeature, error.Kind);
            Assert.Contains("--read-only", error.Message, StringComparison.Ordinal);
        }
        else
        {
            await using var chain = await OpenAsync(file);
            await chain.ReadAsync(0, new byte[4096]);
            await chain.FlushAsync();
        }

        foreach (var sample in Samples.All.Where(s => s.Format is "VMDK"))
        {
            Assert.Equal(sample.FileSha256, Convert.ToHexStringLower(SHA256.HashData(_provider["/" + sample.File])));
        }
    }

    [Fact]
    public async Task A_parent_changed_in_virtualboxes_way_is_refused_with_both_modification_uuids()
    {
        await using (var chain = await OpenAsync("chain-vmdk/chain-vmdk-L2.vmdk"))
        {
            await chain.WriteAsync(0, new byte[] { 1 });
            await chain.FlushAsync();
        }

        var error = await Assert.ThrowsAsync<DiskException>(async () => await OpenAsync("chain-vmdk/chain-vmdk-L3.vmdk", readOnly: true));

        Assert.Equal(ErrorKind.BrokenChain, error.Kind);
        Assert.Contains("modification UUID is", error.Message, StringComparison.Ordinal);
    }

    private ValueTask<DiskChain> OpenAsync(string file, bool readOnly = false) =>
        new ChainOpener(_provider).OpenAsync("/" + file, new ChainOpenOptions { ReadOnly = readOnly });
}
