using BlockMount.Core.Chain;
using BlockMount.Core.Devices;
using BlockMount.Core.Formats;
using BlockMount.Core.Storage;

namespace BlockMount.TestSupport.Scenarios;

/// <summary>
/// A disk as VirtualBox's test scripts use one: images are made, stacked, merged and closed, and all that is read is compared with a copy in memory.
/// </summary>
internal sealed class ScenarioDisk(IStoreProvider provider, string folder, int seed) : IAsyncDisposable
{
    private readonly Random _random = new(seed);
    private readonly ChainOpener _opener = new(provider);
    private readonly Stack<byte[]> _below = new();
    private LiveChain? _chain;
    private byte[] _content = [];

    public LiveChain Chain => _chain ?? throw new InvalidOperationException("No image is open.");

    public byte[] Content => _content;

    /// <summary>create "base".</summary>
    public async Task CreateAsync(string file, string format, long size, string? variant = null)
    {
        var made = FormatRegistry.ByName(format);
        await using (var store = await provider.CreateAsync(PathOf(file)))
        {
            await made.CreateAsync(store, new ImageContext(provider), new ImageCreateOptions { Capacity = size, Variant = variant }, default);
        }

        _content = new byte[size];
        await OpenAsync(file);
    }

    /// <summary>create "diff".</summary>
    public async Task StackAsync(string file, string format)
    {
        _below.Push((byte[])_content.Clone());
        await Chain.StackAsync(PathOf(file), FormatRegistry.ByName(format));
    }

    /// <summary>open: the whole chain by its leaf, whose content stays what it was.</summary>
    public async Task OpenAsync(string leaf, bool readOnly = false)
    {
        var options = new ChainOpenOptions { ReadOnly = readOnly };
        _chain = new LiveChain(await _opener.OpenAsync(PathOf(leaf), options), _opener, options);
    }

    /// <summary>close "single".</summary>
    public async Task CloseLastAsync(bool delete)
    {
        await Chain.CloseLastAsync(delete);
        _content = _below.Pop();
    }

    /// <summary>close "all".</summary>
    public async Task CloseAsync()
    {
        if (_chain is { } chain)
        {
            _chain = null;
            await chain.FlushAsync();
            await chain.DisposeAsync();
        }
    }

    /// <summary>merge: what was merged away is no place to go back to any more.</summary>
    public async Task MergeAsync(int from, int to)
    {
        await Chain.MergeAsync(from, to);
        _below.Clear();
    }

    /// <summary>io: so many bytes in blocks between two offsets, one after the other or several at once.</summary>
    public async Task IoAsync(bool random, int block, long from, long to, long total, int writePercent, int inFlight)
    {
        var blocks = (int)((to - from) / block);
        var next = 0;
        var busy = new HashSet<int>();
        for (long done = 0; done < total;)
        {
            var batch = new List<Task>();
            busy.Clear();
            while (batch.Count < inFlight && done < total)
            {
                var index = random ? _random.Next(blocks) : next++ % blocks;
                if (!busy.Add(index))
                {
                    continue;
                }

                batch.Add(OneAsync(from + ((long)index * block), block, _random.Next(100) < writePercent));
                done += block;
            }

            await Task.WhenAll(batch);
        }
    }

    public async Task WriteAsync(long offset, byte[] data)
    {
        await Chain.WriteAsync(offset, data);
        data.CopyTo(_content, offset);
    }

    public async Task ZeroBytesAsync(long offset, long length) => await WriteAsync(offset, new byte[length]);

    /// <summary>discard: the bytes may be what they were, or zeros.</summary>
    public async Task DiscardAsync(long offset, int length)
    {
        await Chain.TrimAsync(offset, length);
        var found = new byte[length];
        await Chain.ReadAsync(offset, found);
        for (var i = 0; i < length; i++)
        {
            Assert.True(found[i] == 0 || found[i] == _content[offset + i], $"byte {offset + i} is neither zero nor what it was");
        }

        found.CopyTo(_content, offset);
    }

    /// <summary>Reads everything and compares.</summary>
    public async Task VerifyAsync()
    {
        var found = new byte[_content.Length];
        await Chain.ReadAsync(0, found);
        if (!found.AsSpan().SequenceEqual(_content))
        {
            Assert.Fail($"byte {found.AsSpan().CommonPrefixLength(_content)} differs");
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (_chain is not null)
        {
            await _chain.DisposeAsync();
        }
    }

    public string PathOf(string file) => Path.Combine(folder, file);

    private async Task OneAsync(long offset, int length, bool write)
    {
        if (write)
        {
            var data = new byte[length];
            lock (_random)
            {
                _random.NextBytes(data);
            }

            await Chain.WriteAsync(offset, data, WriteOptions.None);
            data.CopyTo(_content, offset);
            return;
        }

        var found = new byte[length];
        await Chain.ReadAsync(offset, found);
        Assert.True(found.AsSpan().SequenceEqual(_content.AsSpan((int)offset, length)), $"the block at {offset} differs");
    }
}
