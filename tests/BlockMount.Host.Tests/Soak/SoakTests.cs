using System.Globalization;
using System.Text.Json;
using BlockMount.Host.Tests.Peers;

namespace BlockMount.Host.Tests.Soak;

/// <summary>Eight clients that load a served disk, check it and die at random: a few seconds, or BLOCKMOUNT_SOAK_SECONDS for each disk.</summary>
public sealed class SoakTests(PeerDisks disks) : PeerTest(disks)
{
    private const int Clients = 8;
    private const int Shared = 4 << 20;

    // Not a multiple of any block: neighbours meet inside of blocks.
    private const int Region = (1 << 20) + (5 << 16) + 1536;

    [Theory]
    [InlineData("vdi vdi vdi vdi")]
    [InlineData("vmdk")]
    public async Task Clients_that_die_at_any_moment_find_what_they_wrote_and_the_server_needs_no_more_memory(string kind)
    {
        var isLong = double.TryParse(Environment.GetEnvironmentVariable("BLOCKMOUNT_SOAK_SECONDS"), CultureInfo.InvariantCulture, out var seconds) && seconds > 0;
        var seed = isLong ? Random.Shared.Next(1 << 20) * Clients : Clients;
        try
        {
            await RunAsync(kind, TimeSpan.FromSeconds(isLong ? seconds : 4), seed);
        }
        catch (Exception e)
        {
            throw new InvalidOperationException($"with seed {seed}: {e.Message}", e);
        }
    }

    private async Task RunAsync(string kind, TimeSpan time, int seed)
    {
        await using var server = await ServeAsync(kind, "--max-connections", $"{Clients}");
        using var stop = new CancellationTokenSource(time);
        using var stopWatching = new CancellationTokenSource();
        var watch = new MemoryWatch(server.Pid);
        var watching = watch.RunAsync(stopWatching.Token);
        var shared = Disks.Content[..Shared];
        var deaths = new Lock();
        var models = Enumerable.Range(0, Clients).Select(i => new SectorModel(Disks.Content[Start(i)..(Start(i) + Region)])).ToArray();
        var clients = models.Select((model, i) => new SoakClient(server.Socket, Start(i), model, shared, seed + i, deaths)).ToArray();
        using var everybody = new Barrier(Clients);
        var running = clients.Select(client => Task.Factory.StartNew(() => RunClient(client, stop, everybody), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default)).ToArray();
        await Task.WhenAll(running);
        await stopWatching.CancelAsync();
        await watching;
        Array.ForEach(clients, static c => c.Dispose());

        Assert.True(clients.Sum(c => c.Requests) > 50 * Clients, $"only {clients.Sum(c => c.Requests)} requests");
        Assert.True(clients.Sum(c => c.Deaths) > 0, "nobody died");
        watch.AssertFlat(room: 48 << 20);
        await StopAsync(server);

        // Another process reads the same from the images, and their tables are in order.
        var expected = Disks.Content.ToArray();
        for (var i = 0; i < Clients; i++)
        {
            models[i].Content.CopyTo(expected.AsSpan(Start(i)));
        }

        AssertSame(expected, await ContentAsync());
        using var info = JsonDocument.Parse(await Blockmount.OkAsync("info", "--json", Leaf));
        Assert.DoesNotContain(info.RootElement.GetProperty("diagnostics").EnumerateArray(), d => d.GetProperty("severity").GetString() == "error");
        await Blockmount.OkAsync("check", Leaf);
    }

    /// <summary>One client that fails stops all of them.</summary>
    private static void RunClient(SoakClient client, CancellationTokenSource stop, Barrier everybody)
    {
        try
        {
            client.Run(deathsPerThousand: 4, everybody, stop.Token);
        }
        catch
        {
            stop.Cancel();
            everybody.RemoveParticipant();
            throw;
        }
    }

    private static int Start(int client) => Shared + (client * Region);
}
