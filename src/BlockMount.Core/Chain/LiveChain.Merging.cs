using BlockMount.Core.Errors;
using BlockMount.Core.Formats;

namespace BlockMount.Core.Chain;

/// <content>
/// Merging (VDMerge). Each step leaves a chain that opens and shows the same disk: content is moved first, where no reader of the chain sees it; when it
/// is durable the links change; then the files that nobody needs any more go.
/// </content>
public sealed partial class LiveChain
{
    /// <summary>Bytes that may be left to copy when requests are made to wait for the end of a merge.</summary>
    private const long MostInPause = 4 << 20;

    /// <summary>Rounds in which what was written meanwhile is copied while requests go on.</summary>
    private const int MostRounds = 12;

    /// <summary>
    /// Merges the images between two of the chain into one: what <paramref name="to"/> and everything between shows is afterwards in
    /// <paramref name="to"/> alone; the others, <paramref name="from"/> among them, are removed with their files. Images are counted from the base, 0.
    /// </summary>
    /// <param name="from">Greater than <paramref name="to"/>: children are merged into their parent. Smaller: parents into their child.</param>
    /// <param name="to">The image that stays. It keeps its UUID.</param>
    /// <param name="progress">Told the offsets of the disk that are done, in growing order.</param>
    /// <param name="cancellationToken">
    /// Gives up while content is moved; the chain shows the same disk then, and no file is gone. A parent that children were being merged into shows a
    /// mixture of both when it is looked at on its own, until the merge is carried out.
    /// </param>
    /// <exception cref="DiskException">
    /// The numbers are wrong, an image has another child that would be lost, sizes or links do not allow it (nothing has changed then), or the host
    /// failed (as after giving up, unless the links had begun to change: then the files say which side holds).
    /// </exception>
    public async Task MergeAsync(int from, int to, IProgress<long>? progress = null, CancellationToken cancellationToken = default)
    {
        await _operation.WaitAsync(cancellationToken);
        try
        {
            await CheckMergeAsync(from, to, cancellationToken);
            if (from > to)
            {
                await MergeIntoParentAsync(from, to, progress, cancellationToken);
            }
            else
            {
                await MergeIntoChildAsync(from, to, progress, cancellationToken);
            }

            progress?.Report(Length);
        }
        finally
        {
            _operation.Release();
        }
    }

    /// <summary>Whether numbers, sizes and other children of the images allow a merge; <see cref="MergeAsync"/> also asks for links that can be recorded.</summary>
    /// <exception cref="DiskException">They do not. Nothing has changed.</exception>
    public async Task CheckMergeAsync(int from, int to, CancellationToken cancellationToken = default)
    {
        var layers = Layers;
        Require(!IsReadOnly, "it is open for reading only; open it for writing to merge images.");
        foreach (var number in new[] { from, to })
        {
            RequireImage(number);
        }

        Require(from != to, $"both images are number {from}; name two different ones.");

        // With a smaller image in between its children inherit zeros behind its end, which nothing could say any more when it is gone.
        var (low, high) = (Math.Min(from, to), Math.Max(from, to));
        var top = layers[high].Capacity;
        for (var i = low; i < high; i++)
        {
            Require(layers[i].Capacity == top, $"image {i}, {layers[i].Path}, has {layers[i].Capacity} bytes and image {high} {top}; resize them to one size first.");
        }

        // A child beside the chain would lose its parent, or see other bytes in it.
        var chain = layers.Select(static l => l.Path).ToArray();
        for (var i = low; i <= high; i++)
        {
            if ((i != to || from > to) && await _opener.FindChildAsync(layers[i], chain, cancellationToken) is { } child)
            {
                throw new DiskException(
                    ErrorKind.InvalidArgument, $"{child}: it was made from {layers[i].Path}, which the merge would {(i == to ? "change" : "remove")}; merge or move that image away first.") { Path = child };
            }
        }
    }

    private async Task MergeIntoParentAsync(int from, int to, IProgress<long>? progress, CancellationToken cancellationToken)
    {
        var child = from + 1 < Layers.Count ? from + 1 : (int?)null;
        ImageLayer[] removed = [];
        try
        {
            await OpenForWritingAsync(child is { } c ? [to, c] : [to], cancellationToken);
            if (child is { } linked)
            {
                // Refused now or never: afterwards there would be no way back.
                await Layers[linked].CheckRelinkAsync(ChildLink.To(Layers[linked].Path, FormatOf(linked), Layers[to]), Layers[to].Path, cancellationToken);
            }

            var target = new DiskChain(Layers.Take(to + 1).ToArray(), contentChanges: false);
            if (child is null)
            {
                _tracker = new ChangeTracker(Length);
            }

            await MergeCopy.IntoParentAsync(Layers, from, target, 0, Layers[from].Capacity, progress, cancellationToken);
            await CopyChangesAsync(from, target, cancellationToken);
            await target.FlushAsync(cancellationToken);
            await using (await CloseAllAsync(cancellationToken))
            {
                await CopyRangesAsync(_tracker?.Take() ?? [], from, target, CancellationToken.None);
                await target.FlushAsync(CancellationToken.None);
                await _chain.FlushAsync(CancellationToken.None);
                await LinkToAsync(to, child);
                removed = Remove(to + 1, from);
                await CloseForWritingAsync();
            }
        }
        finally
        {
            _tracker = null;
            await EndMergeAsync(removed);
        }

        Delete(removed);
    }

    private async Task MergeIntoChildAsync(int from, int to, IProgress<long>? progress, CancellationToken cancellationToken)
    {
        ImageLayer[] removed = [];
        try
        {
            await OpenForWritingAsync([to], cancellationToken);
            var below = from == 0 ? null : Layers[from - 1];
            var link = below is null ? (ParentLink?)null : ChildLink.To(Layers[to].Path, FormatOf(to), below);
            await Layers[to].CheckRelinkAsync(link, below?.Path, cancellationToken);

            // Where the last image takes the content, guests may write to it meanwhile: both go through the same gates.
            var target = to == Layers.Count - 1 ? _chain : new DiskChain(Layers.Take(to + 1).ToArray(), contentChanges: false);
            await MergeCopy.IntoChildAsync(target, from, progress, cancellationToken);
            await target.FlushAsync(cancellationToken);
            await using (await CloseAllAsync(cancellationToken))
            {
                await target.FlushAsync(CancellationToken.None);
                await _chain.FlushAsync(CancellationToken.None);
                await Layers[to].RelinkAsync(link, below?.Path, CancellationToken.None);
                removed = Remove(from, to - 1);
                await CloseForWritingAsync();
            }
        }
        finally
        {
            await EndMergeAsync(removed);
        }

        Delete(removed);
    }

    /// <summary>Copies what was written since, as long as that gets less.</summary>
    private async Task CopyChangesAsync(int from, DiskChain target, CancellationToken cancellationToken)
    {
        for (var round = 0; _tracker is { } tracker && round < MostRounds; round++)
        {
            var changed = tracker.Take();
            await CopyRangesAsync(changed, from, target, cancellationToken);
            if (changed.Sum(static r => r.Length) <= MostInPause)
            {
                return;
            }

            // The pause is to find little to make durable as well.
            await target.FlushAsync(cancellationToken);
        }
    }

    private async Task CopyRangesAsync(List<(long Offset, long Length)> ranges, int from, DiskChain target, CancellationToken cancellationToken)
    {
        foreach (var (offset, length) in ranges)
        {
            await MergeCopy.IntoParentAsync(Layers, from, target, offset, length, progress: null, cancellationToken);
        }
    }

    /// <summary>
    /// Makes the image that took the content a parent of the image above, if there is one, and another state by which no other child knows it. In
    /// between, the image above names it in whatever state it is, so that a power cut at any moment leaves a chain that opens.
    /// </summary>
    private async ValueTask LinkToAsync(int to, int? child)
    {
        var parent = Layers[to];
        if (child is not { } number)
        {
            await parent.BeginWritingAsync(contentChanges: true, CancellationToken.None);
            return;
        }

        var above = Layers[number];
        var link = ChildLink.To(above.Path, FormatOf(number), parent);
        if (link.Uuid == Guid.Empty)
        {
            // Known by name and content number alone, so that no link would hold in between: the number stays.
            await above.RelinkAsync(link, parent.Path, CancellationToken.None);
            return;
        }

        await above.RelinkAsync(link with { ModificationUuid = Guid.Empty, ContentId = null, ChangedAt = 0 }, parent.Path, CancellationToken.None);
        await parent.BeginWritingAsync(contentChanges: true, CancellationToken.None);
        await parent.FlushAsync(CancellationToken.None);
        await above.RelinkAsync(ChildLink.To(above.Path, FormatOf(number), parent), parent.Path, CancellationToken.None);
    }

    /// <summary>Takes images out of the chain; nothing is under way. They stay open.</summary>
    private ImageLayer[] Remove(int first, int last)
    {
        var layers = Layers;
        _chain = _chain.With([.. layers.Take(first), .. layers.Skip(last + 1)]);
        return layers.Skip(first).Take(last - first + 1).ToArray();
    }

    /// <summary>Closes the images that the chain does without; where it keeps them all, each is open as it was before.</summary>
    private async Task EndMergeAsync(ImageLayer[] removed)
    {
        if (removed.Length == 0)
        {
            await using var closed = await CloseAllAsync(CancellationToken.None);
            await CloseForWritingAsync();
        }

        foreach (var layer in removed)
        {
            await layer.DisposeAsync();
        }
    }

    /// <summary>Removes the files of images, the newest first: without it nothing leads to the others.</summary>
    private void Delete(ImageLayer[] removed) => _opener.Delete(removed.Reverse().SelectMany(static l => l.Files));

    private async Task OpenForWritingAsync(int[] images, CancellationToken cancellationToken)
    {
        if (Array.TrueForAll(images, i => Layers[i].CanWrite))
        {
            return;
        }

        await using var closed = await CloseAllAsync(cancellationToken);
        await _chain.FlushAsync(CancellationToken.None);
        foreach (var image in images.Where(i => !Layers[i].CanWrite))
        {
            await ReopenAsync(image, write: true);
        }
    }

    /// <summary>Every image but the last is open for reading only again; nothing is under way.</summary>
    private async Task CloseForWritingAsync()
    {
        for (var i = 0; i < Layers.Count - 1; i++)
        {
            if (Layers[i].CanWrite)
            {
                await ReopenAsync(i, write: false);
            }
        }
    }

    private ImageFormat FormatOf(int image) => FormatRegistry.ByName(Layers[image].Describe().Format);
}
