using BlockMount.Core.Tests.Chain;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Formats;

public sealed class VmdkSpaceTests
{
    private readonly MemoryProvider _provider = new();

    [Fact]
    public async Task A_growing_file_is_lengthened_rarely_and_ends_with_its_last_grain_when_it_is_closed()
    {
        var path = await TestChains.CreateAsync(_provider, "/d/disk.vmdk", 64 << 20, blockSize: null);
        var empty = _provider[path].Length;
        var lengthenings = 0;
        _provider.Wrap = store => new FailingStore(store)
        {
            Fault = (call, _, _) =>
            {
                lengthenings += call == StoreCall.Resize ? 1 : 0;
                return null;
            },
        };

        await using (var chain = await TestChains.OpenAsync(_provider, path))
        {
            for (var grain = 0; grain < 160; grain++)
            {
                await chain.WriteAsync(grain * 3L * 65536, new byte[] { 1 });
            }

            await chain.FlushAsync();
        }

        // Once for each grain while the file is small, then ever more rarely.
        Assert.InRange(lengthenings, 10, 40);
        Assert.Equal(empty + (160 * 65536), _provider[path].Length);
        await using var again = await TestChains.OpenAsync(_provider, path, readOnly: true);
        await again.Layers[0].ExamineAsync(default);
        Assert.Empty(again.Layers[0].Describe().Diagnostics);
        Assert.Equal(160 * 65536, again.Layers[0].Describe().Allocated);
    }
}
