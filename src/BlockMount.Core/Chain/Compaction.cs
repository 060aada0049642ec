using System.Runtime.CompilerServices;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;

namespace BlockMount.Core.Chain;

/// <summary>What a compaction has done.</summary>
/// <param name="FileSizeBefore">Bytes of the image's files at its beginning.</param>
/// <param name="FileSizeAfter">Bytes of the image's files at its end.</param>
/// <param name="UnitsReleased">Allocation units that were given back.</param>
/// <param name="UnitsMoved">Allocation units that have another place now.</param>
public sealed record CompactionResult(long FileSizeBefore, long FileSizeAfter, long UnitsReleased, long UnitsMoved);

/// <summary>
/// Makes the leaf of a chain smaller: units whose content the parents show as well, or that are zero, are given back; others move from the end of
/// the file into the places that this leaves; the end is cut off. The disk stays the same byte for byte and at every moment, also after a
/// power cut, and so does the image's identity, by which its children know it (rule D9).
/// </summary>
public static class Compaction
{
    /// <summary>Bytes moved or released between flushes.</summary>
    private const long FlushEvery = 64L << 20;

    /// <summary>Whether <see cref="RunAsync"/> would take the chain.</summary>
    /// <exception cref="DiskException">
    /// <see cref="ErrorKind.UnsupportedFeature"/>: the leaf is an image that keeps the space of its whole disk. <see cref="ErrorKind.ReadOnly"/>.
    /// </exception>
    public static void Check(DiskChain chain)
    {
        RequireDynamic(chain.Leaf);
        if (!chain.Leaf.CanWrite)
        {
            throw DiskErrors.ReadOnly(chain.Leaf.Path, "compaction");
        }
    }

    /// <summary>Bytes of the disk whose file space <see cref="RunAsync"/> would give back. Changes nothing; the leaf may be open for reading.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.UnsupportedFeature"/> as for <see cref="Check"/>, or the host failed.</exception>
    public static async Task<long> MeasureAsync(DiskChain chain, IProgress<long>? progress = null, CancellationToken cancellationToken = default)
    {
        RequireDynamic(chain.Leaf);
        long bytes = 0;
        await foreach (var start in UnitsAsync(chain, progress, cancellationToken))
        {
            if (await chain.LookAtUnitAsync(start, cancellationToken) != UnitWorth.Kept)
            {
                bytes += chain.EndOfUnit(start) - start;
            }
        }

        progress?.Report(chain.Length);
        return bytes;
    }

    /// <summary>Compacts the leaf, and flushes.</summary>
    /// <param name="chain">The chain, with its leaf open for writing.</param>
    /// <param name="bar">Keeps others away while a unit is given back or moved.</param>
    /// <param name="progress">Told bytes, up to the length of the disk.</param>
    /// <param name="cancellationToken">Stops between units; what has been done by then is kept.</param>
    /// <exception cref="DiskException">As <see cref="Check"/>: nothing has changed then. Others when the host failed; the disk is whole.</exception>
    public static async Task<CompactionResult> RunAsync(
        DiskChain chain, IRangeBar bar, IProgress<long>? progress = null, CancellationToken cancellationToken = default)
    {
        Check(chain);
        var before = chain.Leaf.Describe().FileSize;
        var released = await ReleaseAsync(chain, bar, progress, cancellationToken);
        var moved = await MoveAsync(chain, bar, progress, cancellationToken);
        if (chain.Leaf.CanCut)
        {
            await chain.CutAsync(cancellationToken);
        }

        progress?.Report(chain.Length);
        return new CompactionResult(before, chain.Leaf.Describe().FileSize, released, moved);
    }

    private static void RequireDynamic(ImageLayer image)
    {
        if (!image.CanCompact)
        {
            var d = image.Describe();
            throw DiskErrors.Unsupported(
                image.Path, $"a {d.Format} image of the variant {d.Variant} keeps the space of its whole disk, so there is nothing to compact; convert it to a dynamic image.");
        }
    }

    private static async Task<long> ReleaseAsync(DiskChain chain, IRangeBar bar, IProgress<long>? progress, CancellationToken cancellationToken)
    {
        long released = 0;
        long unflushed = 0;
        await foreach (var start in UnitsAsync(chain, progress is null ? null : new FirstHalf(progress), cancellationToken))
        {
            // Others are kept away from what is worth it alone, and then it is looked at again: they may have written to it.
            if (await chain.LookAtUnitAsync(start, cancellationToken) == UnitWorth.Kept || !await ReleaseUnitAsync(start))
            {
                continue;
            }

            released++;
            unflushed += chain.Leaf.UnitSize;
            if (unflushed >= FlushEvery)
            {
                await chain.FlushAsync(cancellationToken);
                unflushed = 0;
            }
        }

        if (unflushed > 0)
        {
            await chain.FlushAsync(cancellationToken);
        }

        return released;

        async ValueTask<bool> ReleaseUnitAsync(long start)
        {
            await using var barred = await bar.BarAsync(start, chain.EndOfUnit(start) - start, cancellationToken);
            var worth = await chain.LookAtUnitAsync(start, cancellationToken);
            return worth != UnitWorth.Kept && await chain.ReleaseUnitAsync(start, worth, cancellationToken);
        }
    }

    private static async Task<long> MoveAsync(DiskChain chain, IRangeBar bar, IProgress<long>? progress, CancellationToken cancellationToken)
    {
        long moved = 0;
        while (await chain.Leaf.FindMovableAsync(cancellationToken) is { Count: > 0 } units)
        {
            long unflushed = 0;
            var any = false;
            for (var i = 0; i < units.Count; i++)
            {
                cancellationToken.ThrowIfCancellationRequested();
                var start = units[i];
                await using (await bar.BarAsync(start, chain.EndOfUnit(start) - start, cancellationToken))
                {
                    // Whoever writes meanwhile may have taken the last free place.
                    if (!await chain.MoveUnitAsync(start, cancellationToken))
                    {
                        continue;
                    }
                }

                any = true;
                moved++;
                unflushed += chain.Leaf.UnitSize;
                if (unflushed >= FlushEvery)
                {
                    await chain.FlushAsync(cancellationToken);
                    unflushed = 0;
                }

                progress?.Report((chain.Length / 2) + (long)((chain.Length / 2) * ((i + 1.0) / units.Count)));
            }

            if (!any)
            {
                break;
            }

            await chain.FlushAsync(cancellationToken);
        }

        return moved;
    }

    /// <summary>Starts of the units that have space in the leaf, in the order of the disk.</summary>
    private static async IAsyncEnumerable<long> UnitsAsync(
        DiskChain chain, IProgress<long>? progress, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var leaf = chain.Leaf;
        for (long at = 0; at < chain.Length;)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var start = at & ~(leaf.UnitSize - 1);
            var run = await leaf.ResolveAsync(at, chain.Length - at, cancellationToken);
            if (run.Kind != RunKind.Data)
            {
                at += run.Length;
                continue;
            }

            // Units may lie in their file one behind the other, and are looked at one by one all the same.
            yield return start;
            at = chain.EndOfUnit(start);
            progress?.Report(at);
        }
    }

    private sealed class FirstHalf(IProgress<long> whole) : IProgress<long>
    {
        public void Report(long value) => whole.Report(value / 2);
    }
}
