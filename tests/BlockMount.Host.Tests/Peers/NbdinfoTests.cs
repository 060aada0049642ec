using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests.Peers;

public sealed class NbdinfoTests : PeerTest
{
    public NbdinfoTests(PeerDisks disks)
        : base(disks) => Peer.Require("nbdinfo", "libnbd-bin");

    [Theory]
    [MemberData(nameof(PeerDisks.All), MemberType = typeof(PeerDisks))]
    public async Task Nbdinfo_sees_the_size_what_can_be_done_and_a_map_without_a_false_zero(string kind)
    {
        await using var server = await ServeAsync(kind, "-D", "a test disk");
        var isReadOnly = PeerDisks.IsReadOnly(kind);
        Assert.Equal($"{PeerDisks.Size}\n", await Peer.RunOkAsync("nbdinfo", "--size", server.Uri));
        using (var list = JsonDocument.Parse(await Peer.RunOkAsync("nbdinfo", "--json", "--list", server.Uri)))
        {
            var export = Assert.Single(list.RootElement.GetProperty("exports").EnumerateArray());
            Assert.Equal(PeerDisks.Size, export.GetProperty("export-size").GetInt64());
            Assert.Equal("a test disk", export.GetProperty("description").GetString());
            Assert.Equal(isReadOnly, export.GetProperty("is_read_only").GetBoolean());
            foreach (var (name, expected) in ((string, bool)[])
                [("can_flush", true), ("can_fua", true), ("can_multi_conn", true), ("can_cache", true), ("can_df", true), ("can_trim", !isReadOnly), ("can_zero", !isReadOnly)])
            {
                Assert.True(export.GetProperty(name).GetBoolean() == expected, name);
            }
        }

        foreach (var (question, what, expected) in ((string, string, bool)[])
            [("--is", "read-only", isReadOnly), ("--can", "write", !isReadOnly), ("--can", "trim", !isReadOnly), ("--can", "zero", !isReadOnly), ("--can", "flush", true), ("--can", "multi-conn", true), ("--can", "connect", true), ("--is", "tls", false)])
        {
            var answer = await Peer.RunAsync("nbdinfo", [question, what, server.Uri]);
            Assert.True(answer.ExitCode == (expected ? 0 : 2), $"{question} {what}: {answer.ExitCode} {answer.Error}");
        }

        var zeros = CheckMap(await Peer.RunOkAsync("nbdinfo", "--json", "--map", server.Uri), "offset", Disks.Content, e => (e.GetProperty("type").GetInt32() & 2) != 0);
        using (var totals = JsonDocument.Parse(await Peer.RunOkAsync("nbdinfo", "--json", "--map", "--totals", server.Uri)))
        {
            var sizes = totals.RootElement.EnumerateArray().ToDictionary(e => e.GetProperty("type").GetInt32(), e => e.GetProperty("size").GetInt64());
            Assert.Equal(PeerDisks.Size, sizes.Values.Sum());
            Assert.Equal(zeros, sizes.Where(s => (s.Key & 2) != 0).Sum(s => s.Value));
        }

        // All that has blocks knows the holes behind the data; a fixed image holds bytes for everything, as far as its format says.
        Assert.True(kind.EndsWith("fixed", StringComparison.Ordinal) || zeros >= 7 << 20, $"{zeros} bytes are called zero");
        await StopAsync(server);
    }

    [Fact]
    public async Task The_map_of_depths_names_the_image_of_every_block()
    {
        await using var server = await ServeAsync("vdi vdi vdi vdi", "--allocation-depth");
        using (var map = JsonDocument.Parse(await Peer.RunOkAsync("nbdinfo", "--json", "--map=qemu:allocation-depth", server.Uri)))
        {
            var depths = map.RootElement.EnumerateArray()
                .SelectMany(e => Enumerable.Repeat(e.GetProperty("type").GetInt32(), (int)(e.GetProperty("length").GetInt64() >> 20)))
                .ToArray();
            Assert.Equal(PeerDisks.Depths, depths);
            Assert.All(map.RootElement.EnumerateArray(), e => Assert.Equal(0, e.GetProperty("length").GetInt64() % (1 << 20)));
        }

        var text = await Peer.RunOkAsync("nbdinfo", "--map=qemu:allocation-depth", server.Uri);
        Assert.Contains("local", text, StringComparison.Ordinal);
        Assert.Contains("backing depth 4", text, StringComparison.Ordinal);
        await StopAsync(server);
    }

    [Fact]
    public async Task Without_being_asked_to_the_server_does_not_offer_depths()
    {
        await using var server = await ServeAsync("vdi");
        Assert.DoesNotContain("allocation-depth", await Peer.RunOkAsync("nbdinfo", server.Uri), StringComparison.Ordinal);
        await StopAsync(server);
    }
}
