using BlockMount.Core.Chain;
using BlockMount.Core.Devices;
using BlockMount.Core.Formats;
using BlockMount.Nbd.Tests.Support;
using BlockMount.TestSupport;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests;

/// <summary>
/// What NBD_FLAG_CAN_MULTI_CONN promises: a FLUSH or FUA on one connection makes durable what was answered on any other. It holds because all
/// connections share the one device, which has no cache of its own for any of them.
/// </summary>
public sealed class MultiConnectionTests
{
    private const int Unit = 1 << 20;
    private const int Capacity = 8 * Unit;

    [Theory]
    [InlineData("vdi", NBD_CMD_FLUSH)]
    [InlineData("vdi", NBD_CMD_WRITE)]
    [InlineData("vdi", NBD_CMD_TRIM)]
    [InlineData("vmdk", NBD_CMD_FLUSH)]
    [InlineData("vhd", NBD_CMD_FLUSH)]
    [InlineData("raw", NBD_CMD_FLUSH)]
    public async Task A_flush_on_one_connection_covers_what_was_answered_on_the_others(string format, ushort flushing)
    {
        var provider = new MemoryProvider();
        var path = $"/d/disk.{format}";
        await using (var created = await provider.CreateAsync(path))
        {
            await FormatRegistry.ByExtension(path)!.CreateAsync(
                created, new ImageContext(provider), new ImageCreateOptions { Capacity = Capacity }, default);
        }

        RecordingStore? store = null;
        provider.Wrap = opened => !opened.CanWrite ? opened : store = new RecordingStore(path, provider[path]);
        await using var chain = await new ChainOpener(provider).OpenAsync(path, new ChainOpenOptions());
        provider.Wrap = static opened => opened;
        await using var server = new TestServer(new PeriodicFlushDevice(chain, TimeSpan.FromHours(1)));
        var model = new byte[Capacity];
        var random = new Random(1);
        using var flusher = server.Go();
        using var second = server.Go(NbdReplyStyle.Extended);
        using var third = server.Go(NbdReplyStyle.Simple);
        for (var round = 0; round < 6; round++)
        {
            foreach (var client in (RawClient[])[second, third, flusher])
            {
                var offset = random.Next(Capacity - 70_000) & -512;
                var data = new byte[65_536];
                random.NextBytes(data);
                Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_WRITE, (ulong)offset, 65_536, payload: data));
                data.CopyTo(model, offset);
                offset = random.Next(Capacity - 70_000) & -512;
                Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_WRITE_ZEROES, (ulong)offset, 65_536));
                model.AsSpan(offset, 65_536).Clear();
            }

            // FUA is a flush as well: of a write elsewhere, and of a trim of bytes that are zero already.
            var length = flushing == NBD_CMD_FLUSH ? 0u : 512u;
            var at = flushing == NBD_CMD_FLUSH ? 0ul : Capacity - 512;
            Assert.Equal(
                NBD_SUCCESS,
                flusher.Error(flushing, at, length, flushing == NBD_CMD_FLUSH ? (ushort)0 : NBD_CMD_FLAG_FUA, flushing == NBD_CMD_WRITE ? new byte[512] : null));

            // The power goes now: what no flush of the file has covered is gone.
            var crashed = new MemoryProvider { [path] = Durable(store!) };
            await using var reopened = await new ChainOpener(crashed).OpenAsync(path, new ChainOpenOptions { ReadOnly = true });
            var content = new byte[Capacity];
            await reopened.ReadAsync(0, content);
            Assert.True(content.AsSpan().SequenceEqual(model), $"round {round}");
        }
    }

    /// <summary>The file as its last flush left it.</summary>
    private static byte[] Durable(RecordingStore store)
    {
        var durable = new MemoryStream();
        durable.Write(store.Initial);
        var last = store.Operations.FindLastIndex(static o => o is StoreOperation.Flush);
        foreach (var operation in store.Operations.Take(last + 1))
        {
            switch (operation)
            {
                case StoreOperation.Write(var offset, var data):
                    durable.Position = offset;
                    durable.Write(data);
                    break;
                case StoreOperation.Zero(var offset, var length):
                    durable.Position = offset;
                    durable.Write(new byte[length]);
                    break;
                case StoreOperation.Resize(var length):
                    durable.SetLength(length);
                    break;
                default:
                    break;
            }
        }

        return durable.ToArray();
    }
}
