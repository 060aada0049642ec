using System.Globalization;
using BlockMount.Core.Chain;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats.Raw;
using BlockMount.Core.RawDisks;
using BlockMount.Core.Storage;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>Whether the real disk behind a descriptor is the one that it was made of, and divided as it was then.</summary>
internal static class VmdkRawCheck
{
    /// <summary>Compares the disk with the descriptor's fingerprint, if it has one.</summary>
    /// <returns>What could not be made sure of.</returns>
    /// <exception cref="DiskException"><see cref="ErrorKind.BrokenChain"/> when it is another or was changed; it is missing, or may not be reached.</exception>
    public static async ValueTask<IReadOnlyList<ImageDiagnostic>> RunAsync(
        string image, VmdkDescriptor descriptor, VmdkExtentFiles files, CancellationToken cancellationToken)
    {
        if (descriptor.RawDisk is not { } recorded)
        {
            return [];
        }

        var path = Path.GetFullPath(recorded.DiskPath);
        var facts = files.Describe(path);
        if (facts is not null)
        {
            RequirePlaces(image, descriptor, files, recorded, facts);
        }

        if (await files.ProbeAsync(path, cancellationToken) is { } store)
        {
            // Closing the chain closes the store.
            await using var disk = new DiskChain([new RawLayer(store)]);
            recorded.RequireSame(image, await RawDiskFingerprint.TakeAsync(disk, facts, path, recorded.TableCrc is not null, cancellationToken), hasTable: true);
            return [];
        }

        if (facts is null)
        {
            throw new DiskException(
                ErrorKind.AccessDenied, $"{image}: the disk {ShownText.Path(path)} may not be read, so that it cannot be told whether it is the one that this image was made for.") { Path = path };
        }

        var told = new RawDiskFingerprint { DiskPath = path, Size = facts.Length, SectorSize = facts.SectorSize, Serial = facts.Serial };
        recorded.RequireSame(image, told, hasTable: false);
        return
        [
            new(Severity.Warning, "raw_disk_unread", image, null,
                $"{image}: {ShownText.Path(path)} may not be read by this user, so its partition table was not compared; its size and the ranges of the nodes used are right."),
        ];
    }

    /// <summary>Without a fingerprint: whether a disk that an extent names at its own place is as long as the image.</summary>
    public static IEnumerable<ImageDiagnostic> CompareSizes(string image, VmdkDescriptor descriptor, IReadOnlyList<VmdkExtent> extents)
    {
        if (descriptor.RawDisk is not null)
        {
            return [];
        }

        var end = extents[^1].End;
        return extents
            .Where(static e => e.Place is { IsDevice: true, Facts: null or { DiskPath: null } } && e.Line.FileSector * VmdkConstants.SectorSize == e.Start)
            .Select(static e => (Path: e.Place!.Ground, Length: e.Place.Facts?.Length ?? e.Store!.Length))
            .Distinct()
            .Where(d => d.Length != end)
            .Select(d => new ImageDiagnostic(
                Severity.Warning, "raw_disk_size", image, null,
                $"{image}: the extents add up to {end} bytes, but {ShownText.Path(d.Path)} has {d.Length}; if the disk was divided anew, make the image again with raw create."));
    }

    /// <summary>What this program writes down has every device extent where the same bytes are on the disk; nodes may have moved since.</summary>
    private static void RequirePlaces(string image, VmdkDescriptor descriptor, VmdkExtentFiles files, RawDiskFingerprint recorded, DeviceFacts disk)
    {
        var ground = disk.DiskPath ?? disk.Path;
        long start = 0;
        foreach (var line in descriptor.Extents)
        {
            if (line.Type != VmdkExtentType.Zero && line.Access != VmdkAccess.NoAccess && files.PlaceOf(line) is { Facts: { } node } place)
            {
                var name = ShownText.Path(node.Path);
                Require("the disk of " + name, recorded.DiskPath, string.Equals(place.Ground, ground, StringComparison.Ordinal) ? recorded.DiskPath : place.Ground);
                Require("the place of " + name, Number(start), Number(place.GroundOffset - disk.StartOnDisk));
                if (node.DiskPath is not null && !string.Equals(node.Path, disk.Path, StringComparison.Ordinal))
                {
                    Require("the length of " + name, Number(line.Length), Number(node.Length));
                }
            }

            start += line.Length;
        }

        void Require(string field, string expected, string found)
        {
            if (!string.Equals(expected, found, StringComparison.Ordinal))
            {
                throw RawDiskFingerprint.Mismatch(image, recorded.DiskPath, field, expected, found);
            }
        }
    }

    private static string Number(long value) => value.ToString(CultureInfo.InvariantCulture);
}
