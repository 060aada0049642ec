using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>Every level of every image that VirtualBox made, through every door.</summary>
public sealed class SampleTests
{
    private const string Split = "single/split.vmdk";

    /// <summary>All but the split disk, which is too large to be read byte by byte through every door.</summary>
    public static TheoryData<string> Images => new(Samples.Images.Select(s => s.File).Where(f => f != Split));

    [Theory]
    [MemberData(nameof(Images))]
    public async Task A_virtualbox_image_streams_as_virtualbox_shows_it(string file) =>
        Assert.Equal(Expected(file), await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {Samples.PathOf(file)} -"));

    [Theory]
    [MemberData(nameof(Images))]
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
    [MemberData(nameof(Images))]
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

    [Fact]
    public void Every_row_of_the_manifest_is_an_image_here_or_an_extent_of_one()
    {
        Assert.Equal((8, 8, 6), (Samples.Vdi.Count(), Samples.Vmdk.Count(), Samples.Images.Count(s => s.Format == "VHD")));
        Assert.All(Samples.All.Except(Samples.Images), s => Assert.Matches("-(flat|s00[123])[.]vmdk$", s.File));
    }

    [Fact]
    public async Task The_split_disk_made_by_virtualbox_is_the_same_through_every_door()
    {
        Peer.Require("qemu-img", "qemu-utils");
        Peer.RequireFuse();
        using var folder = new TempFolder();
        Assert.Equal(Expected(Split), await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {Samples.PathOf(Split)} -"));
        await Blockmount.OkAsync("convert", Samples.PathOf(Split), folder["disk.raw"]);
        await using (var server = await Server.StartAsync(folder["s.sock"], "--read-only", Samples.PathOf(Split)))
        {
            await Peer.RunOkAsync("qemu-img", "compare", "-f", "raw", "-F", "raw", server.Uri, folder["disk.raw"]);
            Assert.Equal(0, await server.StopAsync());
        }

        Directory.CreateDirectory(folder["mnt"]);
        await Blockmount.OkAsync("mount", "--read-only", "--files", Samples.PathOf(Split), folder["mnt"]);
        try
        {
            await Peer.RunOkAsync("qemu-img", "compare", "-f", "raw", "-F", "raw", folder["mnt"] + "/disk.raw", folder["disk.raw"]);
        }
        finally
        {
            await Blockmount.OkAsync("unmount", folder["mnt"]);
        }
    }

    private static string Expected(string file) => Samples.All.Single(s => s.File == file).Sha256;
}
