using System.Text.Json;
using BlockMount.Core.Chain;
using BlockMount.Core.Formats;
using BlockMount.Nbd.Tests.Support;
using BlockMount.Platform.Files;
using BlockMount.TestSupport;

namespace BlockMount.Nbd.Tests;

/// <summary>A chain of real files that is served while images are stacked on it, merged and closed.</summary>
public sealed class LiveChainTests
{
    private const int Snapshots = 50;

    [Theory]
    [InlineData("vdi")]
    [InlineData("vhd")]
    [InlineData("vmdk")]
    public async Task Fio_finds_no_wrong_byte_while_fifty_snapshots_are_taken_and_merged(string format)
    {
        Peer.Require("fio", "fio");
        using var folder = new TempFolder();
        var chain = await MakeAsync(folder, format);
        await using (chain)
        {
            await using var server = new TestServer(chain);
            await File.WriteAllTextAsync(
                folder["job.fio"],
                $"""
                [global]
                ioengine=nbd
                uri={server.Uri}
                rw=randwrite
                bsrange=4k-64k
                verify=crc32c
                verify_fatal=1
                verify_backlog=32
                fsync=64
                iodepth=8
                size=16M
                time_based=1
                runtime=8
                group_reporting=1
                [a]
                offset=0
                [b]
                offset=16M
                """);
            var fio = Peer.RunAsync("fio", [folder["job.fio"]]);
            var random = new Random(1);
            for (var i = 0; i < Snapshots; i++)
            {
                await chain.StackAsync(folder[$"snapshot-{i}.{format}"], FormatRegistry.ByName(format));
                Assert.False(fio.IsCompleted && i < Snapshots / 2, "fio ended before the snapshots were taken");
                if (chain.Layers.Count > 3)
                {
                    var low = random.Next(0, chain.Layers.Count - 1);
                    var high = random.Next(low + 1, chain.Layers.Count);
                    await (random.Next(2) == 0 ? chain.MergeAsync(high, low) : chain.MergeAsync(low, high));
                }
            }

            var result = await fio;
            Assert.True(result.ExitCode == 0 && result.Output.Contains("err= 0", StringComparison.Ordinal), result.Error + result.Output);
        }

        // The files of the chain are all that is left, and they hold together.
        var files = Directory.GetFiles(folder.Root, "*." + format);
        Assert.Equal(chain.Layers.Count, files.Length);
        await using var again = await new ChainOpener(new FileStoreProvider()).OpenAsync(chain.Layers[^1].Path, new ChainOpenOptions { ReadOnly = true });
        Assert.Equal(chain.Layers.Count, again.Layers.Count);
    }

    /// <summary>
    /// Measures, and so runs only when it is asked for (<c>-explicit only</c>) on a machine with nothing else to do: how long the slowest of a hundred
    /// requests takes while snapshots come and are merged, against a disk that is left alone.
    /// </summary>
    [Theory(Explicit = true)]
    [InlineData("vdi")]
    [InlineData("vhd")]
    [InlineData("vmdk")]
    public async Task The_slowest_of_a_hundred_requests_takes_at_most_three_times_as_long_as_on_a_disk_left_alone(string format)
    {
        Peer.Require("fio", "fio");
        using var folder = new TempFolder();
        await using var chain = await MakeAsync(folder, format);
        await using var server = new TestServer(chain);
        var idle = await MeasureAsync(folder, server.Uri, seconds: 10);
        var measuring = MeasureAsync(folder, server.Uri, seconds: 60);
        var taken = 0;
        while (!measuring.IsCompleted && taken < Snapshots)
        {
            await chain.StackAsync(folder[$"snapshot-{taken++}.{format}"], FormatRegistry.ByName(format));
            await Task.Delay(600, TestContext.Current.CancellationToken);
            if (chain.Layers.Count > 2)
            {
                await (taken % 2 == 0 ? chain.MergeAsync(1, 0) : chain.MergeAsync(chain.Layers.Count - 1, chain.Layers.Count - 2));
            }
        }

        var busy = await measuring;
        TestContext.Current.SendDiagnosticMessage($"{format}: {taken} snapshots; p99 idle {idle / 1000.0} us, meanwhile {busy / 1000.0} us, {(double)busy / idle:0.00} times");
        Assert.Equal(Snapshots, taken);
        Assert.InRange((double)busy / idle, 0, 3);
    }

    /// <returns>Nanoseconds within which 99 of 100 requests ended, reads and writes together.</returns>
    private static async Task<long> MeasureAsync(TempFolder folder, string uri, int seconds)
    {
        await File.WriteAllTextAsync(
            folder["p99.fio"],
            $"""
            [a]
            ioengine=nbd
            uri={uri}
            rw=randrw
            bs=4k
            iodepth=8
            size=32M
            time_based=1
            runtime={seconds}
            unified_rw_reporting=1
            """);
        var output = await Peer.RunOkAsync("fio", "--output-format=json", folder["p99.fio"]);

        // The engine says in front of it that it is connected.
        using var document = JsonDocument.Parse(output[output.IndexOf('{', StringComparison.Ordinal)..]);
        return document.RootElement.GetProperty("jobs")[0].GetProperty("mixed").GetProperty("clat_ns").GetProperty("percentile").GetProperty("99.000000").GetInt64();
    }

    private static async Task<LiveChain> MakeAsync(TempFolder folder, string format)
    {
        var provider = new FileStoreProvider();
        var path = folder["base." + format];
        await using (var store = await provider.CreateAsync(path))
        {
            await FormatRegistry.ByName(format).CreateAsync(store, new ImageContext(provider), new ImageCreateOptions { Capacity = 48 << 20 }, CancellationToken.None);
        }

        var opener = new ChainOpener(provider);
        var options = new ChainOpenOptions();
        return new LiveChain(await opener.OpenAsync(path, options), opener, options);
    }
}
