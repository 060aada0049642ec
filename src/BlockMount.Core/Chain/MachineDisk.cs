using BlockMount.Core.Errors;
using BlockMount.Core.Machines;
using BlockMount.Core.Storage;

namespace BlockMount.Core.Chain;

/// <summary>Finds the image that a VirtualBox machine uses now: <c>machine.vbox</c> or <c>machine.vbox:DISK</c>.</summary>
public sealed class MachineDisk(IStoreProvider provider)
{
    /// <summary>The leaf image's path when <paramref name="image"/> names a machine file, otherwise <paramref name="image"/> itself.</summary>
    /// <exception cref="DiskException">The machine file is unreadable, the disk is ambiguous, or its image is not where it should be.</exception>
    public async ValueTask<string> ResolveAsync(string image, ChainOpenOptions options, CancellationToken cancellationToken = default)
    {
        if (Split(image) is not { } named)
        {
            return image;
        }

        var machine = await MachineFileReader.ReadAsync(provider, named.File, cancellationToken);
        var disk = machine.SelectDisk(named.Disk);
        var folder = Path.GetDirectoryName(machine.FilePath)!;
        var scope = SearchScope.Around(folder, options);
        await foreach (var (path, _) in new ImageSearch(provider).FindAsync(disk.Uuid, scope, cancellationToken))
        {
            return path;
        }

        throw NotFound(machine, disk, folder, scope);
    }

    /// <summary>A path may itself contain colons, so an existing file of the whole name wins.</summary>
    private (string File, string? Disk)? Split(string image)
    {
        if (MachineFileReader.IsMachineFile(image))
        {
            return (image, null);
        }

        var mark = image.LastIndexOf(".vbox:", StringComparison.OrdinalIgnoreCase);
        return mark < 0 || provider.FileExists(image) ? null : (image[..(mark + 5)], image[(mark + 6)..]);
    }

    private static DiskException NotFound(VBoxMachineFile machine, VBoxAttachment disk, string folder, SearchScope scope)
    {
        var path = disk.Disk?.FilePath;
        if (path is not null && !StorePaths.IsInside(path, folder))
        {
            return new DiskException(
                ErrorKind.BrokenChain,
                $"{machine.FilePath}: its disk {ShownText.Short(disk.Slot)} is registered at {ShownText.Path(path)}, outside the machine's folder; add --allow-path {ShownText.Path(Path.GetDirectoryName(path) ?? "/")} if that is right.") { Path = machine.FilePath };
        }

        return new DiskException(
            ErrorKind.BrokenChain,
            $"{machine.FilePath}: the image of its disk {ShownText.Short(disk.Slot)}, UUID {disk.Uuid}, is in none of {scope.Describe()}; add --search with the folder that holds it.") { Path = machine.FilePath };
    }
}
