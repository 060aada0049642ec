using BlockMount.Platform.Hosts;

namespace BlockMount.Platform.Tests;

public sealed class HostFactsTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Every_missing_thing_comes_with_the_step_that_gives_it()
    {
        var facts = HostFacts.Collect(_folder["dev"], _folder["bin"]);
        Assert.Equal(["kernel", "root", "dev_fuse", "libfuse3", "fusermount3", "loop_control", "io_uring", "libdeflate", "nbd"], facts.Select(f => f.Name));
        Assert.All(facts, f => Assert.Equal(f.IsPresent, f.Remedy is null));
        Assert.All(facts, f => Assert.NotEqual("", f.Detail));
        foreach (var (name, remedy) in new[] { ("dev_fuse", "modprobe fuse"), ("fusermount3", "apt install fuse3"), ("loop_control", "modprobe loop") })
        {
            Assert.Equal(remedy, facts.Single(f => f.Name == name).Remedy);
        }

        Assert.StartsWith("modprobe nbd", facts.Single(f => f.Name == "nbd").Remedy, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_is_there_is_found()
    {
        Directory.CreateDirectory(_folder["dev"]);
        Directory.CreateDirectory(_folder["bin"]);
        foreach (var name in new[] { "dev/fuse", "dev/loop-control", "dev/nbd0", "dev/nbd1", "dev/nbd0p1", "bin/fusermount3" })
        {
            await File.WriteAllTextAsync(_folder[name], "");
        }

        var facts = HostFacts.Collect(_folder["dev"], $"/nowhere::{_folder["bin"]}").ToDictionary(f => f.Name);
        Assert.All(new[] { "dev_fuse", "loop_control", "fusermount3", "nbd" }, name => Assert.True(facts[name].IsPresent));
        Assert.Equal("2 devices", facts["nbd"].Detail);
        Assert.Equal(_folder["bin/fusermount3"], facts["fusermount3"].Detail);
        Assert.Equal((await Peer.RunOkAsync("uname", "-r")).Trim(), facts["kernel"].Detail);
        Assert.Equal((await Peer.RunOkAsync("id", "-u")).Trim() == "0", facts["root"].IsPresent);
    }

    [Fact]
    public async Task A_fuse_library_is_found_where_the_loader_finds_it()
    {
        var cache = await Peer.RunOkAsync("ldconfig", "-p");
        Assert.Equal(cache.Contains("libfuse3.so", StringComparison.Ordinal), HostFacts.Collect().Single(f => f.Name == "libfuse3").IsPresent);
    }
}
