namespace BlockMount.Core.Chain;

/// <content>Compaction of an image of a disk in use (VDCompact).</content>
public sealed partial class LiveChain
{
    /// <summary>Makes the file of an image smaller: <see cref="Compaction"/>. Requests wait only where a unit is being given back or moved.</summary>
    /// <param name="image">Its number, counted from the base, 0.</param>
    /// <param name="progress">Told bytes, up to the length of the image's disk.</param>
    /// <param name="cancellationToken">Stops between units; what has been done by then is kept.</param>
    /// <exception cref="Errors.DiskException">As <see cref="Compaction.RunAsync"/>, or the image cannot be opened for writing; the disk is whole.</exception>
    public async Task<CompactionResult> CompactAsync(int image, IProgress<long>? progress = null, CancellationToken cancellationToken = default)
    {
        await _operation.WaitAsync(cancellationToken);
        try
        {
            var isLast = image == Layers.Count - 1;
            RequireImage(image);
            Require(!IsReadOnly, "it is open for reading only; open it for writing to compact an image.");
            try
            {
                await OpenForWritingAsync([image], cancellationToken);

                // The last image is written to meanwhile: both go through the same gates.
                var target = isLast ? _chain : new DiskChain(Layers.Take(image + 1).ToArray(), contentChanges: false);
                var reach = Layers.Skip(image).Max(static l => l.UnitSize);
                return await Compaction.RunAsync(target, new UnitBar(this, reach), progress, cancellationToken);
            }
            finally
            {
                if (!isLast)
                {
                    await using var closed = await CloseAllAsync(CancellationToken.None);
                    await CloseForWritingAsync();
                }
            }
        }
        finally
        {
            _operation.Release();
        }
    }

    /// <summary>
    /// Keeps requests away from a unit. A request of another range still reaches into the whole units that it allocates, so that ranges are closed in
    /// multiples of the largest.
    /// </summary>
    private sealed class UnitBar(LiveChain disk, long reach) : IRangeBar
    {
        public async ValueTask<IAsyncDisposable> BarAsync(long offset, long length, CancellationToken cancellationToken)
        {
            var start = offset / reach * reach;
            var end = (offset + length + reach - 1) / reach * reach;
            return new Held(disk, start, end - start, await disk._gate.CloseAsync(start, end - start, cancellationToken));
        }

        private sealed class Held(LiveChain disk, long offset, long length, IAsyncDisposable closed) : IAsyncDisposable
        {
            public ValueTask DisposeAsync()
            {
                disk._chain.ForgetParents(offset, Math.Min(length, disk.Length - offset));
                return closed.DisposeAsync();
            }
        }
    }
}
