using BlockMount.Core.Chain;
using BlockMount.Core.Errors;
using BlockMount.Host.Images;

namespace BlockMount.Host.Hosting;

/// <summary>What is done with the images of a chain while its disk is in use; one thing at a time.</summary>
/// <param name="opened">The image, open so that the images of its chain can be exchanged.</param>
/// <param name="name">Of its export, for sentences.</param>
/// <param name="follow">
/// Told the files by which the disk may have to be opened if this process is killed from then on, the newest first, before the newest image changes; and the one file
/// afterwards. An exception before leaves everything as it is.
/// </param>
internal sealed class ChainWork(OpenedImage opened, string name, Action<IReadOnlyList<string>>? follow = null) : IAsyncDisposable
{
    private readonly SemaphoreSlim _working = new(1);
    private readonly CancellationTokenSource _ending = new();
    private readonly int _lowest = opened.Overlay is null ? 0 : opened.Layers.Count - 1;
    private string _work = string.Empty;
    private bool _isClosed;

    /// <summary>Bytes of the disk.</summary>
    public long Length => opened.Disk.Length;

    private LiveChain Chain => opened.Live!;

    /// <summary>Stacks a new image on the chain, which takes the changes from now on.</summary>
    /// <param name="path">The new file; null for one beside the leaf.</param>
    /// <param name="format">Name of its format; null for the leaf's, or VDI where that cannot have parents.</param>
    /// <param name="cancellationToken">Gives up; the chain is as it was then.</param>
    /// <returns>The image that is not written to any more, and the new one.</returns>
    /// <exception cref="DiskException">The image cannot be made, or other work is under way.</exception>
    public Task<(string Parent, string Leaf)> SnapshotAsync(string? path, string? format, CancellationToken cancellationToken) =>
        WorkAsync("a snapshot", async cancel =>
        {
            Require(!opened.Device.IsReadOnly, "it is served read-only: there is nothing that a snapshot would keep apart.");
            var leaf = Chain.Layers[^1];
            var chosen = SnapshotName.FormatFor(leaf, format);
            var file = path ?? SnapshotName.Beside(leaf.Path, name, chosen, DateTimeOffset.UtcNow);
            await FollowedAsync(File.Exists(file) ? [leaf.Path] : [file, leaf.Path], () => Chain.StackAsync(file, chosen, cancellationToken: cancel));
            return (leaf.Path, Chain.Layers[^1].Path);
        }, cancellationToken);

    /// <summary>Merges images of the chain; the disk stays the same.</summary>
    /// <param name="choose">Says which, given how many there are: the one that goes and the one that stays.</param>
    /// <param name="progress">Told bytes of the disk.</param>
    /// <param name="cancellationToken">Gives up; the disk is the same then.</param>
    /// <returns>The image that took the content, those that are gone and those that are left, base first.</returns>
    /// <exception cref="DiskException">The images cannot be merged, or other work is under way.</exception>
    public Task<(string Into, IReadOnlyList<string> Removed, IReadOnlyList<string> Images)> MergeAsync(
        Func<int, (int From, int To)> choose, IProgress<long>? progress, CancellationToken cancellationToken) =>
        WorkAsync("a merge", async cancel =>
        {
            Require(!opened.Device.IsReadOnly, "it is served read-only, and a merge writes to its images; serve it read-write, or merge them while it is not served.");
            var before = Paths();
            var (from, to) = choose(before.Count);
            Require(
                Math.Min(from, to) >= _lowest,
                $"the images under its overlay, 0 to {_lowest - 1}, are protected by it; merge them while it is not served.");

            // Until the newest has gone the disk is opened by it, and by the one that took its content from then on.
            await FollowedAsync(from == before.Count - 1 && to >= 0 && to < from ? [before[from], before[to]] : [before[^1]], () => Chain.MergeAsync(from, to, progress, cancel));
            var after = Paths();
            return (before[to], (IReadOnlyList<string>)[.. before.Except(after, StringComparer.Ordinal)], (IReadOnlyList<string>)after);
        }, cancellationToken);

    /// <summary>Makes the file of an image of the chain smaller.</summary>
    /// <param name="image">Its number, base 0; null for the leaf.</param>
    /// <param name="progress">Told bytes of the disk.</param>
    /// <param name="cancellationToken">Gives up; what was done stays.</param>
    /// <returns>The image, the size of its files before, and what was done.</returns>
    /// <exception cref="DiskException">The image cannot be compacted, or other work is under way.</exception>
    public Task<(string Path, string Format, long Before, CompactionResult Result)> CompactAsync(
        int? image, IProgress<long>? progress, CancellationToken cancellationToken) =>
        WorkAsync("a compaction", async cancel =>
        {
            Require(!opened.Device.IsReadOnly, "it is served read-only, and compacting writes to an image; serve it read-write, or compact it while it is not served.");
            var number = image ?? Chain.Layers.Count - 1;
            Require(number >= 0 && number < Chain.Layers.Count, $"its chain has no image {number}; allowed is 0 (the base) to {Chain.Layers.Count - 1} (the newest).");
            Require(number >= _lowest, $"image {number} lies under its overlay, which protects it; compact it while it is not served.");
            var layer = Chain.Layers[number];
            var before = layer.Describe();
            var result = await Chain.CompactAsync(number, progress, cancel);
            return (Path.GetFullPath(layer.Path), before.Format, before.FileSize, result);
        }, cancellationToken);

    /// <summary>Ends what is under way, and takes no more.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_isClosed)
        {
            return;
        }

        _isClosed = true;
        await _ending.CancelAsync();
        await _working.WaitAsync();
        _working.Dispose();
        _ending.Dispose();
    }

    private async Task FollowedAsync(IReadOnlyList<string> files, Func<Task> work)
    {
        follow?.Invoke([.. files.Select(Path.GetFullPath)]);
        try
        {
            await work();
        }
        finally
        {
            try
            {
                follow?.Invoke([Path.GetFullPath(Chain.Layers[^1].Path)]);
            }
            catch (DiskException)
            {
                // What was told before holds now as well.
            }
        }
    }

    private async Task<T> WorkAsync<T>(string what, Func<CancellationToken, Task<T>> work, CancellationToken cancellationToken)
    {
        Require(opened.Overlay != ImageRequest.TemporaryOverlay, $"what is written to it is thrown away at its end, so that {what} makes no sense.");
        if (_isClosed || !_working.Wait(0, CancellationToken.None))
        {
            throw new DiskException(ErrorKind.Busy, _isClosed ? $"Export '{name}' is being closed." : $"Export '{name}': {_work} is under way; wait for its end.");
        }

        try
        {
            _work = what;
            using var both = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _ending.Token);
            return await work(both.Token);
        }
        finally
        {
            _working.Release();
        }
    }

    private List<string> Paths() => Chain.Layers.Select(static l => Path.GetFullPath(l.Path)).ToList();

    private void Require(bool holds, string sentence)
    {
        if (!holds)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"Export '{name}': {sentence}");
        }
    }
}
