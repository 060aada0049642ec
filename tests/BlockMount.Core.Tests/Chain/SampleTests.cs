using System.Security.Cryptography;
using BlockMount.Core.Chain;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Chain;

public sealed class SampleTests
{
    [Fact]
    public async Task Every_level_of_every_vdi_made_by_virtualbox_reads_as_virtualbox_shows_it()
    {
        var provider = new MemoryProvider();
        foreach (var sample in Samples.Vdi)
        {
            provider["/" + sample.File] = await File.ReadAllBytesAsync(Samples.PathOf(sample.File));
        }

        Assert.Equal(8, Samples.Vdi.Count());
        foreach (var sample in Samples.Vdi)
        {
            await using var chain = await new ChainOpener(provider).OpenAsync("/" + sample.File, new ChainOpenOptions { ReadOnly = true });
            Assert.Equal(sample.VirtualSize, chain.Length);
            Assert.Equal(sample.Level + 1, chain.Layers.Count);
            Assert.Equal(Guid.Parse(sample.Uuid), chain.Layers[^1].Identity.Uuid);
            var content = new byte[chain.Length];
            await chain.ReadAsync(0, content);
            Assert.Equal(sample.Sha256, Convert.ToHexStringLower(SHA256.HashData(content)));
        }
    }

    [Fact]
    public async Task Opening_for_writing_and_closing_changes_no_byte_of_any_image()
    {
        var provider = new MemoryProvider();
        foreach (var sample in Samples.Vdi)
        {
            provider["/" + sample.File] = await File.ReadAllBytesAsync(Samples.PathOf(sample.File));
        }

        foreach (var sample in Samples.Vdi)
        {
            await using (var chain = await new ChainOpener(provider).OpenAsync("/" + sample.File, new ChainOpenOptions()))
            {
                await chain.FlushAsync();
            }

            Assert.Equal(sample.FileSha256, Convert.ToHexStringLower(SHA256.HashData(provider["/" + sample.File])));
        }
    }
}
