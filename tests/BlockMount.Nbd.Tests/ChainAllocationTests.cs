using BlockMount.Core.Chain;
using BlockMount.Core.Devices;
using BlockMount.Core.Formats;
using BlockMount.Core.Formats.Raw;
using BlockMount.Core.Formats.Vdi;
using BlockMount.Core.Formats.Vhd;
using BlockMount.Core.Formats.Vmdk;
using BlockMount.Nbd.Tests.Support;
using BlockMount.Platform.Files;
using BlockMount.TestSupport;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests;

/// <summary>The whole road of a request, from the socket to a file: alone, because it counts what the whole process allocates.</summary>
[Collection(typeof(AloneCollection))]
public sealed class ChainAllocationTests : IDisposable
{
    private const int Batch = 64;
    private const int Block = 4096;
    private readonly TempFolder _folder = new();

    public static TheoryData<string, ushort> Rows { get; } = new MatrixTheoryData<string, ushort>(["raw", "vdi", "vhd", "vmdk", "live"], [NBD_CMD_READ, NBD_CMD_WRITE])
    {
        // A write past the page cache completes later, and what is to be done then takes an object.
        { "device", NBD_CMD_READ },
    };

    public void Dispose() => _folder.Dispose();

    [Theory]
    [MemberData(nameof(Rows))]
    public async Task Requests_to_an_image_in_the_page_cache_or_a_device_allocate_almost_nothing(string format, ushort type)
    {
        Assert.SkipUnless(IsOptimised, "a debug build makes objects of state machines");
        using var loop = format == "device" ? await LoopAsync() : null;
        await using var device = new MeterDevice(loop is null ? await OpenAsync(format) : await OpenDeviceAsync(loop.Path));
        await device.WriteAsync(0, new byte[device.Length].AsMemory());
        await using var server = new TestServer(device);
        using var client = server.Go(NbdReplyStyle.Structured);
        var payload = type == NBD_CMD_WRITE ? Block : 0;
        var requests = new byte[Batch * (RequestHeaderSize + payload)];
        for (var i = 0; i < Batch; i++)
        {
            RawClient.RequestBytes(type, (ulong)(i * Block), Block, cookie: (ulong)i).CopyTo(requests.AsSpan(i * (RequestHeaderSize + payload)));
        }

        var replies = new byte[Batch * (type == NBD_CMD_WRITE ? SimpleReplySize : ChunkHeaderSize + 8 + Block)];
        Pump(200);
        var least = long.MaxValue;
        for (var round = 0; round < 3; round++)
        {
            GC.Collect();
            var before = GC.GetTotalAllocatedBytes(precise: true);
            Pump(20_000 / Batch);
            least = Math.Min(least, GC.GetTotalAllocatedBytes(precise: true) - before);
        }

        // Less than a byte a request; without a ring the thread pool takes an object for each read that completes elsewhere.
        Assert.InRange(least, 0, loop is not null && TestServer.UsesThreads ? 20_000 * 40 : 20_000);

        void Pump(int batches)
        {
            for (var i = 0; i < batches; i++)
            {
                client.Send(requests);
                client.Receive(replies);
            }
        }
    }

    private static bool IsOptimised =>
#if DEBUG
        false;
#else
        true;
#endif

    private async Task<TestMount> LoopAsync()
    {
        await File.WriteAllBytesAsync(_folder["backing"], new byte[8 << 20]);
        return await TestMount.LoopAsync(_folder["backing"]);
    }

    private static async Task<DiskChain> OpenDeviceAsync(string path) =>
        await new ChainOpener(new FileStoreProvider()).OpenAsync(path, new ChainOpenOptions { LeafMayBeDevice = true, Format = "raw" }, CancellationToken.None);

    private async Task<BlockDevice> OpenAsync(string format) => format == "live"
        ? new LiveChain(await OpenChainAsync("vdi"), new ChainOpener(new FileStoreProvider()), new ChainOpenOptions())
        : await OpenChainAsync(format);

    private async Task<DiskChain> OpenChainAsync(string format)
    {
        var provider = new FileStoreProvider();
        ImageFormat made = format switch
        {
            "vdi" => new VdiFormat(),
            "vhd" => new VhdFormat(),
            "vmdk" => new VmdkFormat(),
            _ => new RawFormat(),
        };
        var path = _folder["disk." + format];
        await using (var store = await provider.CreateAsync(path))
        {
            await made.CreateAsync(store, new ImageContext(provider), new ImageCreateOptions { Capacity = 8 << 20 }, CancellationToken.None);
        }

        return await new ChainOpener(provider).OpenAsync(path, new ChainOpenOptions(), CancellationToken.None);
    }
}
