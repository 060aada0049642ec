using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>Every level of every VDI that VirtualBox made, through every door.</summary>
public sealed class SampleTests
{
    public static TheoryData<string> Vdis => new(Samples.Vdi.Select(s => s.File));

    [Theory]
    [MemberData(nameof(Vdis))]
    public async Task A_virtualbox_image_streams_as_virtualbox_shows_it(string file) =>
        Assert.Equal(Expected(file), await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {Samples.PathOf(file)} -"));

    [Theory]
    [MemberData(nameof(Vdis))]
    public async Task A_virtualbox_image_is_served_as_virtualbox_shows_it(string file)
    {
        Peer.Require("nbdcopy", "libnbd-bin");
        using var folder = new TempFolder();
        await using var server = await Server.StartAsync(folder["s.sock"], "--read-only", Samples.PathOf(file));

        Assert.Equal(Expected(file), await Blockmount.Sha256OfAsync($"/usr/bin/nbdcopy '{server.Uri}' -"));
        Assert.Equal(0, await server.StopAsync());
        Assert.False(File.Exists(server.Socket));
    }

    [Theory]
    [MemberData(nameof(Vdis))]
    public async Task A_virtualbox_image_is_mounted_as_virtualbox_shows_it(string file)
    {
        Peer.RequireFuse();
        using var folder = new TempFolder();
        Directory.CreateDirectory(folder["mnt"]);
        await Blockmount.OkAsync("mount", "--read-only", "--files", Samples.PathOf(file), folder["mnt"]);
        try
        {
            Assert.Equal(Expected(file), await Blockmount.Sha256OfAsync($"cat {folder["mnt"]}/disk.raw"));
        }
        finally
        {
            await Blockmount.OkAsync("unmount", folder["mnt"]);
        }
    }

    private static string Expected(string file) => Samples.All.Single(s => s.File == file).Sha256;
}
