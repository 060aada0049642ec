using BlockMount.Core.Chain;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;

namespace BlockMount.Core.Tests.Hostile;

/// <summary>
/// Writes to a mutant that opens for writing: what was written and what was not must read so, before it is closed and after it is opened
/// again. Small disks are compared whole.
/// </summary>
internal sealed class MutantWriting(HostileHost host, HostileSeed seed, Random random, Action<DiskException> checkMessage)
{
    private const int WholeDisk = 512 << 10;
    private const int Windows = 12;
    private const int WindowSize = 4096;

    private readonly List<(long Offset, byte[] Content)> _windows = [];

    /// <returns>False when it does not open for writing.</returns>
    public async Task<bool> RunAsync()
    {
        var changes = host.Changes;
        if (await OpenAsync(readOnly: false) is not { } chain)
        {
            return false;
        }

        var flushed = false;
        await using (chain)
        {
            Require(host.Changes == changes, "opening it for writing changed a file");
            if (random.Next(4) > 0)
            {
                await ReadWindowsAsync(chain);
                for (var i = random.Next(1, 8); i > 0 && _windows.Count > 0; i--)
                {
                    await ChangeAsync(chain);
                }

                flushed = await TryAsync(() => chain.FlushAsync());
                await CompareAsync(chain, "before it was closed");
            }
        }

        if (_windows.Count == 0)
        {
            return true;
        }

        var again = await OpenAsync(readOnly: true);
        Require(again is not null || !flushed, "it was written to and flushed, and does not open again");
        if (again is not null)
        {
            await using (again)
            {
                if (flushed)
                {
                    await CompareAsync(again, "after it was opened again");
                }
            }
        }

        return true;
    }

    private static void Require(bool holds, string what)
    {
        if (!holds)
        {
            throw new InvalidOperationException(what);
        }
    }

    private async Task<DiskChain?> OpenAsync(bool readOnly)
    {
        try
        {
            return await new ChainOpener(host).OpenAsync(seed.Leaf, new ChainOpenOptions { ReadOnly = readOnly, Format = seed.Format });
        }
        catch (DiskException e)
        {
            checkMessage(e);
            return null;
        }
    }

    private async Task ReadWindowsAsync(DiskChain chain)
    {
        var places = new List<(long Offset, int Length)>();
        if (chain.Length <= WholeDisk)
        {
            places.Add((0, (int)chain.Length));
        }
        else
        {
            var unit = chain.Layers[^1].UnitSize;
            long next = 0;
            foreach (var at in Enumerable.Range(0, Windows)
                .Select(i => i switch { 0 => 0, 1 => chain.Length - WindowSize, 2 => unit - 512, _ => random.NextInt64(chain.Length) })
                .Select(at => Math.Clamp(at, 0, chain.Length - WindowSize))
                .Order())
            {
                if (at >= next)
                {
                    places.Add((at, WindowSize));
                    next = at + WindowSize;
                }
            }
        }

        foreach (var (offset, length) in places)
        {
            var content = new byte[length];
            if (await TryAsync(() => chain.ReadAsync(offset, content)))
            {
                _windows.Add((offset, content));
            }
        }
    }

    private async Task ChangeAsync(DiskChain chain)
    {
        var index = random.Next(_windows.Count);
        var (offset, content) = _windows[index];
        var length = Math.Min(random.Next(1, 1 << random.Next(1, 17)), content.Length);
        var from = random.Next(content.Length - length + 1);
        var part = content.AsMemory(from, length);
        var at = offset + from;
        bool known;
        switch (random.Next(8))
        {
            case < 4:
                var data = new byte[length];
                random.NextBytes(data);
                known = await TryAsync(() => chain.WriteAsync(at, data));
                data.CopyTo(part);
                break;
            case < 6:
                var keep = random.Next(3) == 0 ? WriteOptions.KeepAllocated : WriteOptions.None;
                known = await TryAsync(() => chain.ZeroAsync(at, length, keep));
                part.Span.Clear();
                break;
            case 6:
                // What was trimmed reads as it likes.
                await TryAsync(() => chain.TrimAsync(at, length));
                known = false;
                break;
            default:
                known = true;
                await TryAsync(() => chain.FlushAsync());
                break;
        }

        // So does what a failed request was about.
        if (!known && !await TryAsync(() => chain.ReadAsync(at, part)))
        {
            _windows.RemoveAt(index);
        }
    }

    private async Task CompareAsync(DiskChain chain, string when)
    {
        foreach (var (offset, content) in _windows)
        {
            var found = new byte[content.Length];
            await chain.ReadAsync(offset, found);
            var same = found.AsSpan().CommonPrefixLength(content);
            Require(same == content.Length, $"byte {offset + same} is not what it should be {when}");
        }
    }

    private async Task<bool> TryAsync(Func<ValueTask> request)
    {
        try
        {
            await request();
            return true;
        }
        catch (DiskException e)
        {
            checkMessage(e);
            return false;
        }
    }
}
