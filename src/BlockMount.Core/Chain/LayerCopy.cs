using System.Buffers;
using BlockMount.Core.Devices;
using BlockMount.Core.Formats;

namespace BlockMount.Core.Chain;

/// <summary>Copies what one differencing image holds itself, data and zero marks, to another image with the same parent.</summary>
public static class LayerCopy
{
    private const int Piece = 1 << 20;

    /// <summary>
    /// The disk to copy to: <paramref name="copy"/> on the source's own parents, so that blocks it must fill partly are filled with
    /// what the parent holds. Closing it closes the copy and leaves the parents open.
    /// </summary>
    public static DiskChain TargetFor(DiskChain source, ImageLayer copy) =>
        new([.. source.Layers.Take(source.Layers.Count - 1).Select(static l => new BorrowedLayer(l)), copy]);

    /// <summary>Copies every run that the source's leaf decides, then flushes.</summary>
    /// <exception cref="Errors.DiskException">Either disk failed.</exception>
    public static async Task CopyAsync(
        DiskChain source, DiskChain target, IProgress<long>? progress = null, CancellationToken cancellationToken = default)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(Piece);
        try
        {
            for (long at = 0; at < source.Length;)
            {
                var extent = await source.MapAsync(at, Math.Min(source.Length - at, Piece - (at % Piece)), cancellationToken);
                if (extent.Depth == 0 && extent.IsZero)
                {
                    await target.ZeroAsync(at, extent.Length, WriteOptions.None, cancellationToken);
                }
                else if (extent.Depth == 0)
                {
                    var part = buffer.AsMemory(0, (int)extent.Length);
                    await source.ReadAsync(at, part, cancellationToken);
                    await target.WriteAsync(at, part, WriteOptions.None, cancellationToken);
                }

                at = extent.End;
                progress?.Report(at);
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }

        await target.FlushAsync(cancellationToken);
    }

    /// <summary>A parent that belongs to another chain: read through, never closed.</summary>
    private sealed class BorrowedLayer(ImageLayer inner) : ImageLayer(inner.Path, inner.Capacity, inner.UnitSize, canWrite: false)
    {
        public override ImageIdentity Identity => inner.Identity;

        public override IReadOnlyList<string> Files => inner.Files;

        public override ParentLink? Parent => inner.Parent;

        public override ImageDescription Describe() => inner.Describe();

        public override ValueTask<BlockRun> ResolveAsync(long offset, long length, CancellationToken cancellationToken) =>
            inner.ResolveAsync(offset, length, cancellationToken);

        public override ValueTask BeginWritingAsync(bool contentChanges, CancellationToken cancellationToken) => throw NeverWritten();

        public override ValueTask<Reservation> ReserveAsync(long offset, CancellationToken cancellationToken) => throw NeverWritten();

        public override void Commit(in Reservation reservation) => throw NeverWritten();

        public override void Abandon(in Reservation reservation) => throw NeverWritten();

        public override bool TryMarkZero(long unitStart) => throw NeverWritten();

        public override ValueTask FlushAsync(CancellationToken cancellationToken) => throw NeverWritten();

        public override ValueTask DisposeAsync() => ValueTask.CompletedTask;

        private static InvalidOperationException NeverWritten() => new("Parents are only read.");
    }
}
