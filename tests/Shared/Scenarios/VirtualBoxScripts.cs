using BlockMount.Core.Chain;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;

namespace BlockMount.TestSupport.Scenarios;

/// <summary>
/// The scenarios of VirtualBox's own tests of its disk library, under the names they have there. Sizes are theirs, in units of <c>mega</c> bytes in
/// place of mebibytes.
/// </summary>
/// <param name="provider">Where the files are.</param>
/// <param name="folder">An empty folder of it.</param>
/// <param name="mega">Bytes that stand for a mebibyte: a multiple of 8192.</param>
internal sealed class VirtualBoxScripts(IStoreProvider provider, string folder, int mega)
{
    private const int Seed = 1234567890;

    private int Block => Math.Max(512, 64 * mega / 1024);

    /// <summary>tstVDIo: sequential writes and reads of a base, then random ones on two snapshots, asynchronous and synchronous; closing goes back.</summary>
    public async Task IoAsync(string format)
    {
        await using var disk = new ScenarioDisk(provider, folder, Seed);
        var size = 200L * mega;
        await disk.CreateAsync("base." + format, format, size);
        await disk.IoAsync(random: false, Block, 0, size, size, 100, inFlight: 32);
        await disk.IoAsync(random: false, Block, 0, size, size, 100, inFlight: 1);
        await disk.IoAsync(random: false, Block, 0, size, size, 0, inFlight: 32);
        await disk.IoAsync(random: false, Block, 0, size, size, 0, inFlight: 1);
        for (var i = 1; i <= 2; i++)
        {
            await disk.StackAsync($"diff{i}.{format}", format);
            await disk.IoAsync(random: true, Block, 0, size, size, 50, inFlight: 32);
            await disk.IoAsync(random: true, Block, 0, size, size, 50, inFlight: 1);
            await disk.VerifyAsync();
        }

        for (var i = 0; i < 2; i++)
        {
            await disk.CloseLastAsync(delete: true);
            await disk.VerifyAsync();
        }

        await disk.CloseAsync();
    }

    /// <summary>tstVDIZeroBlocks: zeros that a snapshot holds over the base's bytes are there after reopening, and after the merge.</summary>
    public async Task ZeroBlocksAsync(string format)
    {
        await using var disk = new ScenarioDisk(provider, folder, Seed);
        await disk.CreateAsync("base." + format, format, 4L << 20);
        var pattern = new byte[2 << 20];
        pattern.AsSpan().Fill(0x5A);
        await disk.WriteAsync(0, pattern);
        await disk.StackAsync("diff." + format, format);
        await disk.ZeroBytesAsync(0, 1 << 20);
        await disk.Chain.ZeroAsync(1 << 20, 1 << 20);
        disk.Content.AsSpan(1 << 20, 1 << 20).Clear();
        await disk.VerifyAsync();
        await disk.CloseAsync();
        await disk.OpenAsync("diff." + format);
        await disk.VerifyAsync();
        await disk.MergeAsync(1, 0);
        await disk.VerifyAsync();
        await disk.CloseAsync();
        await disk.OpenAsync("base." + format);
        await disk.VerifyAsync();
        Assert.False(provider.FileExists(disk.PathOf("diff." + format)));
    }

    /// <summary>tstIoUnaligned, which VirtualBox has and does not call: requests of 512 bytes across a boundary of 4096.</summary>
    public async Task UnalignedAsync(string format)
    {
        await using var disk = new ScenarioDisk(provider, folder, Seed);
        await disk.CreateAsync("base." + format, format, 64L * mega);
        await disk.IoAsync(random: false, 512, 3584, 4096 + 512, 512, 100, inFlight: 1);
        await disk.IoAsync(random: true, 777, 3584, 64L * mega, 2L * mega, 50, inFlight: 8);
        await disk.VerifyAsync();
    }

    /// <summary>tstVDDiscard: pieces of blocks and whole blocks, in one and in two halves, over several blocks; what is kept stays.</summary>
    public async Task DiscardAsync(string format)
    {
        await using var disk = new ScenarioDisk(provider, folder, Seed);
        var (half, size) = (mega / 2, 256L * mega);
        await disk.CreateAsync("base." + format, format, size);
        await disk.IoAsync(random: false, Block, 0, 200L * mega, 200L * mega, 100, inFlight: 32);
        await disk.CloseAsync();
        await disk.OpenAsync("base." + format);
        foreach (var at in new[] { 0, 2, 4, 6, 8, 9, 12, 14, 16, 18, 20, 21 })
        {
            await disk.DiscardAsync((long)at * half, half);
        }

        await disk.DiscardAsync(half, half);
        await disk.DiscardAsync(mega, Block);
        await disk.DiscardAsync(20L * mega, mega);
        await disk.DiscardAsync((21L * mega) + half, half);
        await disk.DiscardAsync(21L * mega, half);
        await disk.VerifyAsync();
        await disk.CloseAsync();
        await disk.OpenAsync("base." + format);
        await disk.VerifyAsync();
    }

    /// <summary>tstVDMultBackends: a base and five snapshots of another format, random requests on every level; all six are closed.</summary>
    public async Task MultipleBackendsAsync(string basis, string diff)
    {
        await using var disk = new ScenarioDisk(provider, folder, Seed);
        var size = 256L * mega;
        await disk.CreateAsync("base." + basis, basis, size);
        for (var i = 0; i <= 5; i++)
        {
            if (i > 0)
            {
                await disk.StackAsync($"diff{i}.{diff}", diff);
            }

            await disk.IoAsync(random: true, Block, 0, size, 40L * mega, 50, inFlight: 32);
            await disk.IoAsync(random: true, Block, 0, size, 20L * mega, 50, inFlight: 1);
            await disk.IoAsync(random: true, Block, 0, size, 20L * mega, 0, inFlight: 32);
            await disk.VerifyAsync();
        }

        for (var i = 0; i < 5; i++)
        {
            await disk.CloseLastAsync(delete: true);
            await disk.VerifyAsync();
        }
    }

    /// <summary>tstVDShareable, as it is here: any number of readers share an image, and whoever writes to it has it alone.</summary>
    public async Task ShareableAsync()
    {
        await using var disk = new ScenarioDisk(provider, folder, Seed);
        var size = 20L * mega;
        await disk.CreateAsync("fixed.vdi", "vdi", size, "fixed");
        await disk.IoAsync(random: true, Block, 0, size, size, 100, inFlight: 32);
        await Assert.ThrowsAsync<DiskException>(() => OpenAnotherAsync(readOnly: false));
        await Assert.ThrowsAsync<DiskException>(() => OpenAnotherAsync(readOnly: true));
        await disk.CloseAsync();
        await disk.OpenAsync("fixed.vdi", readOnly: true);
        await using var other = await OpenAnotherAsync(readOnly: true);
        var found = new byte[size];
        await other.ReadAsync(0, found);
        Assert.Equal(disk.Content, found);
        await disk.VerifyAsync();

        Task<DiskChain> OpenAnotherAsync(bool readOnly) =>
            new ChainOpener(provider).OpenAsync(disk.PathOf("fixed.vdi"), new ChainOpenOptions { ReadOnly = readOnly }).AsTask();
    }

    /// <summary>tstVD, CreateDelete and OpenDelete: a deleted image cannot be opened.</summary>
    public async Task CreateDeleteAsync(string format, string variant)
    {
        await using var disk = new ScenarioDisk(provider, folder, Seed);
        await disk.CreateAsync("disk." + format, format, 64L * mega, variant);
        var files = disk.Chain.Layers[0].Files;
        Assert.All(files, f => Assert.True(provider.FileExists(f)));
        await disk.StackAsync("diff." + format, format);
        await disk.CloseLastAsync(delete: true);
        Assert.False(provider.FileExists(disk.PathOf("diff." + format)));
        await disk.CloseAsync();
        await disk.OpenAsync("disk." + format);
        await disk.CloseAsync();
        foreach (var file in files)
        {
            provider.Delete(file);
        }

        Assert.Equal(ErrorKind.NotFound, (await Assert.ThrowsAsync<DiskException>(() => disk.OpenAsync("disk." + format))).Kind);
    }

    /// <summary>tstVD, CreateWriteOpenMerge: a hundred segments in the base, others in the snapshot; after the merge the snapshot wins, then the base, then zeros.</summary>
    public async Task CreateWriteOpenMergeAsync(string format, bool intoParent)
    {
        await using var disk = new ScenarioDisk(provider, folder, Seed);
        var (random, size) = (new Random(Seed), 250L * mega);
        await disk.CreateAsync("base." + format, format, size);
        for (var round = 0; round < 2; round++)
        {
            for (var i = 0; i < 100; i++)
            {
                var length = 512 * random.Next(1, mega / 512);
                var data = new byte[length];
                data.AsSpan().Fill((byte)((128 * round) + random.Next(128)));
                await disk.WriteAsync(512 * random.NextInt64((size - length) / 512), data);
            }

            if (round == 0)
            {
                await disk.StackAsync("diff." + format, format);
            }
        }

        await disk.CloseAsync();
        await disk.OpenAsync("diff." + format);
        await disk.VerifyAsync();
        await disk.MergeAsync(intoParent ? 1 : 0, intoParent ? 0 : 1);
        await disk.VerifyAsync();
        await disk.CloseAsync();
        await disk.OpenAsync(intoParent ? "base." + format : "diff." + format, readOnly: true);
        await disk.VerifyAsync();
    }

    /// <summary>tstVDSnap: thirty rounds of a snapshot with half of all segments written anew, or the merge of a random range.</summary>
    public async Task SnapAsync(string format, bool intoParent)
    {
        await using var disk = new ScenarioDisk(provider, folder, 0x12345678);
        var random = new Random(0x12345678);
        var segments = new List<(long At, int Length)>();
        long size = 0;
        for (var i = random.Next(10, 51); i > 0; i--)
        {
            var length = 512 * random.Next(1, (2 * mega) / 512);
            segments.Add((size, length));
            size += length;
        }

        await disk.CreateAsync("base." + format, format, size);
        await WriteHalfAsync();
        var snapshots = 0;
        for (var i = 0; i < 30; i++)
        {
            var count = disk.Chain.Layers.Count;
            if (count <= 5 || random.Next(2) == 0)
            {
                await disk.StackAsync($"snap{++snapshots}.{format}", format);
                await WriteHalfAsync();
            }
            else
            {
                var low = random.Next(count - 1);
                var high = random.Next(low + 1, count);
                await disk.MergeAsync(intoParent ? high : low, intoParent ? low : high);
            }

            await disk.VerifyAsync();
        }

        async Task WriteHalfAsync()
        {
            foreach (var (at, length) in segments.Where(_ => random.Next(2) == 0).ToArray())
            {
                var data = new byte[length];
                random.NextBytes(data);
                await disk.WriteAsync(at, data);
            }
        }
    }
}
