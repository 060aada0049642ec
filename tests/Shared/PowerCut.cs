namespace BlockMount.TestSupport;

/// <summary>One change that a store was asked for.</summary>
internal abstract record StoreOperation
{
    public sealed record Write(long Offset, byte[] Data) : StoreOperation;

    public sealed record Zero(long Offset, long Length) : StoreOperation;

    public sealed record Resize(long Length) : StoreOperation;

    public sealed record Flush : StoreOperation;
}

/// <summary>Numbers the changes of all files of one image in one row, so that a moment means the same to each of them.</summary>
internal sealed class RecordingClock
{
    private readonly Lock _lock = new();

    /// <summary>Changes so far.</summary>
    public int Now { get; private set; }

    /// <summary>Gives one change its number, from 0, while nobody else gets one.</summary>
    public void Tick(Action<int> note)
    {
        lock (_lock)
        {
            note(Now++);
        }
    }
}

/// <summary>Keeps every change in order, and the moment of each, so that crashes can be replayed.</summary>
internal sealed class RecordingStore(string name, byte[] content, RecordingClock? clock = null) : MemoryStore(name, canWrite: true, (byte[])content.Clone())
{
    private readonly RecordingClock _clock = clock ?? new RecordingClock();

    public byte[] Initial { get; } = (byte[])content.Clone();

    public List<StoreOperation> Operations { get; } = [];

    /// <summary>For every operation its number on the clock.</summary>
    public List<int> Moments { get; } = [];

    protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        Record(new StoreOperation.Write(offset, data.ToArray()));
        return base.WriteCoreAsync(offset, data, cancellationToken);
    }

    protected override ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken)
    {
        Record(new StoreOperation.Zero(offset, length));
        return base.ZeroCoreAsync(offset, length, keepAllocated, cancellationToken);
    }

    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken)
    {
        Record(new StoreOperation.Flush());
        return base.FlushCoreAsync(cancellationToken);
    }

    protected override ValueTask SetLengthCoreAsync(long length, CancellationToken cancellationToken)
    {
        Record(new StoreOperation.Resize(length));
        return base.SetLengthCoreAsync(length, cancellationToken);
    }

    protected override ValueTask AllocateCoreAsync(long offset, long length, CancellationToken cancellationToken)
    {
        if (offset + length > Length)
        {
            Record(new StoreOperation.Resize(offset + length));
        }

        return base.AllocateCoreAsync(offset, length, cancellationToken);
    }

    private void Record(StoreOperation operation) => _clock.Tick(moment =>
    {
        Operations.Add(operation);
        Moments.Add(moment);
    });
}

/// <summary>
/// What a file may look like after the power went at some moment of a recorded run: everything before the last flush is there;
/// of what came after it, each sector of each operation may be there or not.
/// </summary>
internal static class PowerCut
{
    private const int Sector = 512;

    /// <summary>The file at a moment of the clock; <paramref name="keep"/> decides for the moment of an operation that no flush of the file
    /// has covered, and each of its sectors (-1 for a resize), whether it reached the disk.</summary>
    public static byte[] Replay(RecordingStore store, int moment, Func<int, long, bool> keep)
    {
        var count = store.Moments.TakeWhile(m => m < moment).Count();
        var lastFlush = count == 0 ? -1 : store.Operations.FindLastIndex(count - 1, count, static o => o is StoreOperation.Flush);
        var image = (byte[])store.Initial.Clone();
        for (var i = 0; i < count; i++)
        {
            var at = store.Moments[i];
            Apply(ref image, store.Operations[i], i < lastFlush ? static _ => true : sector => keep(at, sector));
        }

        return image;
    }

    private static void Apply(ref byte[] image, StoreOperation operation, Func<long, bool> keep)
    {
        switch (operation)
        {
            case StoreOperation.Resize resize when keep(-1):
                Array.Resize(ref image, (int)resize.Length);
                break;
            case StoreOperation.Write write:
                Sectors(ref image, write.Offset, write.Data.Length, write.Data, keep);
                break;
            case StoreOperation.Zero zero:
                Sectors(ref image, zero.Offset, (int)zero.Length, new byte[zero.Length], keep);
                break;
            default:
                break;
        }
    }

    private static void Sectors(ref byte[] image, long offset, int length, byte[] data, Func<long, bool> keep)
    {
        for (var at = offset; at < offset + length;)
        {
            var end = Math.Min(offset + length, (at / Sector * Sector) + Sector);
            if (keep(at / Sector))
            {
                if (end > image.Length)
                {
                    Array.Resize(ref image, (int)end);
                }

                data.AsSpan((int)(at - offset), (int)(end - at)).CopyTo(image.AsSpan((int)at));
            }

            at = end;
        }
    }
}
