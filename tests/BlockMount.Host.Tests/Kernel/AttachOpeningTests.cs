using BlockMount.Core.Errors;
using BlockMount.Host.Hosting;
using BlockMount.Host.Images;
using BlockMount.Platform.Files;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests.Kernel;

/// <summary>By which image a host opens the disk that one before it was exchanging images of when it was killed.</summary>
public sealed class AttachOpeningTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("leaf.vdi", "missing.vdi", "leaf.vdi")]
    [InlineData("leaf.vdi", "torn.vdi", "leaf.vdi")]
    [InlineData("leaf.vdi", "stranger.vdi", "leaf.vdi")]
    [InlineData("new.vdi", "new.vdi", "leaf.vdi")]
    [InlineData("leaf.vdi", "leaf.vdi", "base.vdi")]
    [InlineData("base.vdi", "missing.vdi", "base.vdi")]
    [InlineData("base.vdi", "unfit.vdi", "base.vdi")]
    public async Task The_first_that_is_whole_and_stands_on_the_next_is_taken(string expected, params string[] files)
    {
        await MakeAsync();
        await using var opened = await AttachOpening.OpenNewestAsync(
            new ImageOpener(new FileStoreProvider()), new ImageRequest { Chain = new() }, [.. files.Select(f => _folder[f])], CancellationToken.None);
        Assert.Equal(_folder[expected], opened.Layers[^1].Path);
    }

    [Fact]
    public async Task When_the_last_cannot_be_opened_either_the_reason_is_told()
    {
        await MakeAsync();
        var error = await Assert.ThrowsAsync<DiskException>(() => AttachOpening.OpenNewestAsync(
            new ImageOpener(new FileStoreProvider()), new ImageRequest { Chain = new() }, [_folder["missing.vdi"], _folder["unfit.vdi"]], CancellationToken.None));
        Assert.Equal(ErrorKind.BrokenChain, error.Kind);
        Assert.Contains("unfit.vdi", error.Message, StringComparison.Ordinal);
    }

    private async Task MakeAsync()
    {
        await Blockmount.OkAsync("create", _folder["base.vdi"], "--size", "8M");
        await Blockmount.OkAsync("create", _folder["unfit.vdi"], "--parent", _folder["base.vdi"]);

        // What was made from it before it was written to does not fit any more.
        await using (var server = await Server.StartAsync(_folder["s"], _folder["base.vdi"]))
        {
            await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "write -P 7 0 64k", server.Uri);
            Assert.Equal(0, await server.StopAsync());
        }

        await Blockmount.OkAsync("create", _folder["leaf.vdi"], "--parent", _folder["base.vdi"]);
        await Blockmount.OkAsync("create", _folder["new.vdi"], "--parent", _folder["leaf.vdi"]);
        await Blockmount.OkAsync("create", _folder["stranger.vdi"], "--size", "8M");
        await File.WriteAllBytesAsync(_folder["torn.vdi"], (await File.ReadAllBytesAsync(_folder["new.vdi"]))[..700]);
    }
}
