using BlockMount.Core.Chain;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.Partitions;
using BlockMount.Core.Storage;

namespace BlockMount.Host.Images;

/// <summary>Opens what a user names: an image with its chain, a <c>.vbox</c> file's disk, an overlay on it, a part of it.</summary>
internal sealed class ImageOpener(IStoreProvider provider)
{
    private readonly ChainOpener _chains = new(provider);
    private readonly MachineDisk _machines = new(provider);
    private readonly OverlayOpener _overlays = new(provider);

    /// <exception cref="DiskException">Anything along the way; nothing stays open then.</exception>
    public Task<OpenedImage> OpenAsync(string image, ImageRequest request, CancellationToken cancellationToken) =>
        OpenAsync(image, request, static chain => chain, static (chain, spared) => ThriftyWritesDevice.Over((DiskChain)chain, spared), cancellationToken);

    /// <summary>As <see cref="OpenAsync(string, ImageRequest, CancellationToken)"/>; the images of the disk can be exchanged while it is used.</summary>
    /// <exception cref="DiskException">Anything along the way; nothing stays open then.</exception>
    public Task<OpenedImage> OpenToServeAsync(string image, ImageRequest request, CancellationToken cancellationToken) =>
        OpenAsync(
            image, request, chain => new LiveChain(chain, _chains, request.Chain),
            static (chain, spared) => ThriftyWritesDevice.Over((LiveChain)chain, spared), cancellationToken);

    private async Task<OpenedImage> OpenAsync(
        string image, ImageRequest request, Func<DiskChain, BlockDevice> asDisk, Func<BlockDevice, ThriftyWrites, BlockDevice> sparing, CancellationToken cancellationToken)
    {
        var path = await _machines.ResolveAsync(image, request.Chain, cancellationToken);
        if (await PartitionNodeAsync(path, request, cancellationToken) is { } node)
        {
            (path, request) = (node, request with { Partition = null });
        }

        var chain = request.Overlay is null
            ? await _chains.OpenAsync(path, request.Chain, cancellationToken)
            : await _overlays.OpenAsync(path, request.Overlay, request.Chain, cancellationToken);
        try
        {
            await WarnOfFindingsAsync(chain);
            await WarnOfDeviceUsersAsync(chain);
            await WarnOfChildrenAsync(chain, cancellationToken);
            var disk = asDisk(chain);
            return new OpenedImage(path, disk, await WindowAsync(path, sparing(disk, request.Spared), request, cancellationToken), request.Overlay);
        }
        catch
        {
            await chain.DisposeAsync();
            throw;
        }
    }

    /// <summary>The image file that is meant; opens nothing but a machine file.</summary>
    /// <exception cref="DiskException">The machine file is unreadable, or names no such disk.</exception>
    public ValueTask<string> ResolveAsync(string image, ImageRequest request, CancellationToken cancellationToken) =>
        _machines.ResolveAsync(image, request.Chain, cancellationToken);

    /// <summary>
    /// The node to open when one partition of a disk of this host is to be written to: it claims that partition alone, while the host goes on using
    /// the others. Null for anything else, and where the host has no node for it: then the disk is claimed.
    /// </summary>
    /// <exception cref="DiskException">The disk has no such partition, it must not be written to, or the host has another range for it.</exception>
    public async Task<string?> PartitionNodeAsync(string path, ImageRequest request, CancellationToken cancellationToken)
    {
        if (request is not { Partition: { } number, Overlay: null, Chain: { ReadOnly: false, Format: null or HostDisk.Format } }
            || provider.DescribeDevice(path) is not { DiskPath: null } disk
            || disk.Partitions.FirstOrDefault(p => p.Number == number) is not { } node)
        {
            return null;
        }

        await using var whole = await HostDisk.OpenAsync(provider, disk.Path, cancellationToken);
        var partition = await FindAsync(path, whole, isReadOnly: false, number, request.AllowTruncated, cancellationToken);
        return partition.Start == node.Start && partition.Length == node.Length
            ? node.Path
            : throw new DiskException(
                ErrorKind.BrokenChain,
                $"{path}: partition {number} is {partition.Length} bytes at byte {partition.Start}, but the host's {node.Path} is {node.Length} bytes at {node.Start}; make it read the table again (partprobe).") { Path = path };
    }

    /// <summary>A whole chain whose images can be exchanged.</summary>
    /// <exception cref="DiskException">Anything along the way; nothing stays open then.</exception>
    public async Task<LiveChain> OpenLiveAsync(string image, ImageRequest request, CancellationToken cancellationToken) =>
        new(await OpenUpToAsync(image, null, request, cancellationToken), _chains, request.Chain);

    /// <summary>One image, and none of its parents.</summary>
    /// <exception cref="DiskException">It cannot be opened.</exception>
    public async Task<ImageLayer> OpenImageAsync(string image, ImageRequest request, CancellationToken cancellationToken) =>
        await _chains.OpenImageAsync(await _machines.ResolveAsync(image, request.Chain, cancellationToken), request.Chain, cancellationToken);

    /// <summary>The chain up to one of its images, which is its leaf then; for work that leaves the disk as it is.</summary>
    /// <param name="image">What the user names.</param>
    /// <param name="number">Number of the image in the whole chain, base 0; null for the newest.</param>
    /// <param name="request">How to open it.</param>
    /// <param name="cancellationToken">Stops the search for parents.</param>
    /// <exception cref="DiskException">The chain cannot be opened, or has no such image; nothing stays open then.</exception>
    public async Task<DiskChain> OpenUpToAsync(string image, int? number, ImageRequest request, CancellationToken cancellationToken)
    {
        var path = await _machines.ResolveAsync(image, request.Chain, cancellationToken);
        var options = request.Chain;
        if (number is { } wanted)
        {
            await using var whole = await _chains.OpenAsync(path, options with { ReadOnly = true }, cancellationToken);
            var newest = whole.Layers.Count - 1;
            if (wanted < 0 || wanted > newest)
            {
                throw new DiskException(ErrorKind.InvalidArgument, $"{path}: its chain has no image {wanted}; allowed is 0 (the base) to {newest} (the newest).") { Path = path };
            }

            path = whole.Layers[wanted].Path;
            options = wanted == newest ? options : options with { Format = null };
        }

        var chain = await _chains.OpenAsync(path, options, cancellationToken);
        await WarnOfFindingsAsync(chain);
        return chain;
    }

    /// <summary>An image near this one that was made from it as it is now; null when there is none.</summary>
    public ValueTask<string?> FindChildAsync(ImageLayer layer, CancellationToken cancellationToken) => _chains.FindChildAsync(layer, cancellationToken);

    /// <summary>Repairs one image, and none of its parents; it need not open.</summary>
    /// <returns>What was repaired, or would be.</returns>
    /// <exception cref="DiskException">It is no image, or only a guess could repair it; nothing has changed then.</exception>
    public async Task<IReadOnlyList<ImageDiagnostic>> RepairAsync(string image, ImageRequest request, bool dryRun, CancellationToken cancellationToken)
    {
        var path = await _machines.ResolveAsync(image, request.Chain, cancellationToken);
        return await _chains.RepairAsync(path, request.Chain with { ReadOnly = dryRun }, cancellationToken);
    }

    /// <summary>As much of the chain as holds, for showing.</summary>
    public async Task<ChainInspection> InspectAsync(string image, ImageRequest request, CancellationToken cancellationToken)
    {
        var path = await _machines.ResolveAsync(image, request.Chain, cancellationToken);
        return await _chains.InspectAsync(path, request.Chain, cancellationToken);
    }

    /// <summary>What an image says of itself that its user should know before using it; <c>info</c> has the rest.</summary>
    private static async Task WarnOfFindingsAsync(DiskChain chain)
    {
        foreach (var finding in chain.Layers.SelectMany(static l => l.OpeningFindings.Concat(l.Describe().Diagnostics)).Where(static d => d.Severity != Severity.Info))
        {
            await Console.Error.WriteLineAsync($"blockmount: warning: {finding.Message}");
        }
    }

    private async Task WarnOfDeviceUsersAsync(DiskChain chain)
    {
        foreach (var user in DeviceUsers.Of(provider, chain))
        {
            await Console.Error.WriteLineAsync($"blockmount: warning: {user}; what is read of it may change while it is read.");
        }
    }

    /// <summary>Writing to an image that others were made from makes those unusable; whoever asks for it should know.</summary>
    private async Task WarnOfChildrenAsync(DiskChain chain, CancellationToken cancellationToken)
    {
        if (!chain.IsReadOnly && await _chains.FindChildAsync(chain, cancellationToken) is { } child)
        {
            await Console.Error.WriteLineAsync(
                $"blockmount: warning: {child} was made from {chain.Name}; a write to {chain.Name} makes {Path.GetFileName(child)} unusable. "
                + "Add --read-only or --overlay, or open the newest image instead.");
        }
    }

    private static async Task<BlockDevice> WindowAsync(string path, BlockDevice disk, ImageRequest request, CancellationToken cancellationToken)
    {
        var device = disk;
        if (request.Partition is { } number)
        {
            var partition = await FindAsync(path, disk, disk.IsReadOnly, number, request.AllowTruncated, cancellationToken);
            device = PartitionWindow.Open(device, partition.Start, partition.Length, partition.WhyReadOnly, ownsDisk: true);
        }

        if (request.Offset is not null || request.Size is not null)
        {
            var start = request.Offset ?? 0;
            device = new WindowDevice(device, start, request.Size ?? Math.Max(0, device.Length - start));
        }

        return device;
    }

    private static async Task<Partition> FindAsync(
        string path, BlockDevice disk, bool isReadOnly, int number, bool allowTruncated, CancellationToken cancellationToken)
    {
        var table = await PartitionTable.ReadAsync(disk, new PartitionReadOptions { AllowTruncated = allowTruncated }, cancellationToken);
        var partition = table.Partitions.FirstOrDefault(p => p.Number == number) ?? throw new DiskException(
            ErrorKind.InvalidArgument,
            table.Partitions.Count == 0
                ? $"{path}: it has no partition {number}, because it has no partition table."
                : $"{path}: it has no partition {number}; it has {string.Join(", ", table.Partitions.Select(p => p.Number))}.");
        PartitionWindow.RequireMode(path, isReadOnly, number, partition.WhyReadOnly);
        return partition;
    }
}
