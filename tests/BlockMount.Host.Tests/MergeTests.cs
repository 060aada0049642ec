using System.Diagnostics;
using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary><c>merge</c> through the program, on chains that VirtualBox made, as this program and qemu read them afterwards.</summary>
public sealed class MergeTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public static TheoryData<string, bool> Chains
    {
        get
        {
            var data = new TheoryData<string, bool>();
            foreach (var set in Samples.Images.GroupBy(static s => s.Set, StringComparer.Ordinal).Where(static g => g.Max(static s => s.Level) > 0))
            {
                data.Add(set.Key, true);
                data.Add(set.Key, false);
            }

            return data;
        }
    }

    public void Dispose() => _folder.Dispose();

    [Theory]
    [MemberData(nameof(Chains))]
    public async Task Every_step_of_merging_a_sample_chain_keeps_its_content_and_qemu_reads_the_result(string set, bool intoParent)
    {
        Peer.Require("qemu-img", "qemu-utils");
        var levels = Samples.Images.Where(s => s.Set == set).OrderBy(static s => s.Level).ToArray();
        foreach (var sample in Samples.All.Where(s => s.Set == set))
        {
            File.Copy(Samples.PathOf(sample.File), _folder[Path.GetFileName(sample.File)]);
        }

        var wanted = levels[^1].Sha256;
        var leaf = _folder[Path.GetFileName(levels[^1].File)];
        for (var count = levels.Length; count > 1; count--)
        {
            // Middle images first, so that the one above them learns of another parent.
            var (low, high) = count > 2 ? (count - 3, count - 2) : (0, 1);
            string[] numbers = intoParent ? ["--from", $"{high}", "--to", $"{low}"] : ["--from", $"{low}", "--to", $"{high}"];
            using var document = JsonDocument.Parse(await Blockmount.OkAsync(["merge", leaf, .. numbers, "--json"]));
            var images = document.RootElement.GetProperty("images").EnumerateArray().Select(static e => e.GetString()!).ToArray();
            Assert.Equal(count - 1, images.Length);
            Assert.Equal(images[^1], document.RootElement.GetProperty("leaf").GetString());
            Assert.All(document.RootElement.GetProperty("removed").EnumerateArray(), e => Assert.False(File.Exists(e.GetString())));
            leaf = images[^1];
            Assert.Equal(wanted, await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {leaf} -"));
            Assert.Equal(0, (await Blockmount.RunAsync("check", leaf)).ExitCode);
        }

        // VirtualBox's VHDs are read by qemu from their geometry alone, which may leave out the last sectors.
        await Peer.RunOkAsync("qemu-img", "convert", "-O", "raw", leaf, _folder["raw"]);
        var size = new FileInfo(_folder["raw"]).Length;
        Assert.Equal(
            await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {leaf} - | head -c {size}"), await Blockmount.Sha256OfAsync($"cat {_folder["raw"]}"));
    }

    [Fact]
    public async Task Into_the_parent_is_one_word_and_a_dry_run_only_tells()
    {
        var (parent, leaf) = await ChainAsync();
        var sums = await SumsAsync();
        var told = await Blockmount.OkAsync("merge", leaf, "--into-parent", "--dry-run");
        Assert.Contains("would be merged into base.vdi", told, StringComparison.Ordinal);
        Assert.Equal(sums, await SumsAsync());
        var wanted = await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {leaf} -");

        told = await Blockmount.OkAsync("merge", leaf, "--into-parent");
        Assert.Contains("merged into base.vdi and deleted", told, StringComparison.Ordinal);
        Assert.False(File.Exists(leaf));
        Assert.Equal(wanted, await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {parent} -"));
    }

    [Fact]
    public async Task What_cannot_be_merged_is_one_sentence_an_exit_code_and_no_changed_byte()
    {
        var (parent, leaf) = await ChainAsync();
        var sums = await SumsAsync();
        Assert.Contains("--into-parent", await Blockmount.FailsAsync(2, "merge", leaf), StringComparison.Ordinal);
        Assert.Contains("leave out", await Blockmount.FailsAsync(2, "merge", leaf, "--into-parent", "--from", "1"), StringComparison.Ordinal);
        Assert.Contains("image 2 does not exist; the chain has 0 (the base) to 1", await Blockmount.FailsAsync(2, "merge", leaf, "--from", "2", "--to", "0"), StringComparison.Ordinal);
        Assert.Contains("number 1", await Blockmount.FailsAsync(2, "merge", leaf, "--from", "1", "--to", "1"), StringComparison.Ordinal);
        Assert.Contains("no parent", await Blockmount.FailsAsync(2, "merge", parent, "--into-parent"), StringComparison.Ordinal);
        await Blockmount.FailsAsync(1, "merge", _folder["none.vdi"], "--into-parent");
        await using (var server = await Server.StartAsync(_folder["sock"], leaf))
        {
            await Blockmount.FailsAsync(4, "merge", leaf, "--into-parent");
        }

        // A second child would see other bytes, or lose its parent.
        var other = _folder["other.vdi"];
        await Blockmount.OkAsync("create", other, "--parent", parent);
        sums = await SumsAsync();
        Assert.Contains($"{other}: it was made from {parent}, which the merge would change", await Blockmount.FailsAsync(2, "merge", leaf, "--from", "1", "--to", "0"), StringComparison.Ordinal);
        Assert.Contains($"{other}: it was made from {parent}, which the merge would remove", await Blockmount.FailsAsync(2, "merge", leaf, "--from", "0", "--to", "1"), StringComparison.Ordinal);
        Assert.Equal(sums, await SumsAsync());
    }

    /// <summary>The program is ended at random moments, kindly or not, and started again until it is done.</summary>
    [Theory]
    [InlineData("INT", true)]
    [InlineData("KILL", true)]
    [InlineData("KILL", false)]
    public async Task A_merge_that_is_ended_at_random_moments_loses_no_byte(string signal, bool intoParent)
    {
        var (parent, leaf) = await ChainAsync(blocks: 96);
        var middle = _folder["middle.vdi"];
        File.Move(leaf, middle);
        leaf = _folder["leaf.vdi"];
        await Blockmount.OkAsync("create", leaf, "--parent", middle);
        var wanted = await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {leaf} -");
        var random = new Random(1);
        string[] numbers = intoParent ? ["--from", "1", "--to", "0"] : ["--from", "0", "--to", "1"];
        for (var i = 0; i < 8 && await ImagesAsync(leaf) == 3; i++)
        {
            using var process = Process.Start(new ProcessStartInfo(Blockmount.Program, ["merge", leaf, .. numbers]) { UseShellExecute = false, RedirectStandardError = true, RedirectStandardOutput = true })!;
            var errors = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
            await Task.Delay(120 + random.Next(i < 5 ? 400 : 3000), TestContext.Current.CancellationToken);
            if (!process.HasExited)
            {
                await Peer.RunAsync("kill", ["-" + signal, $"{process.Id}"]);
            }

            await process.WaitForExitAsync(TestContext.Current.CancellationToken);
            _ = await errors;
            Assert.Equal(wanted, await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {leaf} -"));
        }

        // One that was ended when its links held already has left a file at most.
        if (await ImagesAsync(leaf) == 3)
        {
            await Blockmount.OkAsync(["merge", leaf, .. numbers]);
            Assert.False(File.Exists(intoParent ? middle : parent));
        }

        Assert.Equal(2, await ImagesAsync(leaf));
        Assert.Equal(wanted, await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {leaf} -"));
        await Blockmount.OkAsync("check", "--read", leaf);
    }

    private static async Task<int> ImagesAsync(string leaf)
    {
        using var info = JsonDocument.Parse(await Blockmount.OkAsync("info", "--json", leaf));
        return info.RootElement.GetProperty("images").GetArrayLength();
    }

    /// <summary>A base and a child of 256 MiB with so many MiB of content each, half of it over the other's.</summary>
    private async Task<(string Parent, string Leaf)> ChainAsync(int blocks = 8)
    {
        Peer.Require("qemu-io", "qemu-utils");
        var (parent, raw) = (_folder["base.vdi"], _folder["content"]);
        var content = new byte[blocks << 20];
        new Random(blocks).NextBytes(content);
        await File.WriteAllBytesAsync(raw, content);
        await Peer.RunOkAsync("truncate", "-s", "256M", raw);
        await Blockmount.OkAsync("convert", raw, parent);
        File.Delete(raw);
        var leaf = _folder["leaf.vdi"];
        await Blockmount.OkAsync("create", leaf, "--parent", parent);
        await using var server = await Server.StartAsync(_folder["sock"], leaf);
        await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", $"write -P 0x5c {blocks / 2}M {blocks / 2}M", "-c", "write -P 0x5d 240M 1M", "-c", "write -z 1M 1M", "-c", "flush", server.Uri);
        return (parent, leaf);
    }

    private Task<string> SumsAsync() => Peer.RunOkAsync("/bin/sh", "-c", $"cd {_folder.Root} && sha256sum *.vdi");
}
