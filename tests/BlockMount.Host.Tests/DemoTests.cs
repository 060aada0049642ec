using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

public sealed class DemoTests
{
    [Fact]
    public async Task The_demo_goes_on_where_its_user_may_not_mount()
    {
        Peer.Require("mke2fs", "e2fsprogs");

        var result = await Blockmount.RunAsNobodyAsync("demo");

        Assert.True(result.ExitCode == 0, result.Error);
        Assert.Contains("Everything is as it should be.", result.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_demo_shows_a_chain_served_mounted_written_and_verified_and_cleans_up()
    {
        Peer.RequireRoot();
        Peer.RequireFuse();
        Peer.Require("mke2fs", "e2fsprogs");

        var output = await Blockmount.OkAsync("demo");

        Assert.Contains("hello.txt", output, StringComparison.Ordinal);
        Assert.Contains("it is there after mounting again", output, StringComparison.Ordinal);
        Assert.Contains("yes, byte for byte", output, StringComparison.Ordinal);
        Assert.Contains("Everything is as it should be.", output, StringComparison.Ordinal);
        Assert.Empty(Directory.GetDirectories(Path.GetTempPath(), "blockmount-demo-*"));
    }
}
