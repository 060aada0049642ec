using BlockMount.Core.Errors;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>Findings about a VMDK that opens all the same.</summary>
internal static class VmdkDiagnostics
{
    /// <summary>What the headers tell.</summary>
    public static List<ImageDiagnostic> Find(IEnumerable<VmdkExtent> extents)
    {
        var found = new List<ImageDiagnostic>();
        foreach (var extent in extents.OfType<VmdkSparseExtent>())
        {
            var name = extent.Store!.Name;
            if (extent.Header.Unclean)
            {
                found.Add(new(Severity.Warning, "unclean_shutdown", name, OffUncleanShutdown, $"{name}: the header says that the last program to write to it did not close it."));
            }

            if (extent.Header.HasUnknownFlags)
            {
                found.Add(new(Severity.Warning, "unknown_flags", name, OffFlags,
                    $"{name}: the header flags are 0x{extent.Header.Flags:X}, of which only 0x{KnownFlags:X} are known; it is opened for reading only."));
            }

            if (extent.Header.Capacity - (ulong)extent.Line.Sectors >= extent.Header.GrainSectors)
            {
                found.Add(new(Severity.Info, "capacity", name, OffCapacity,
                    $"{name}: the header gives a capacity of {extent.Header.Capacity} sectors and the descriptor {extent.Line.Sectors}; the descriptor's is shown."));
            }
        }

        return found;
    }

    /// <summary>What the tables tell.</summary>
    public static async ValueTask ExamineAsync(VmdkSparseExtent extent, List<ImageDiagnostic> found, CancellationToken cancellationToken)
    {
        var name = extent.Store!.Name;
        try
        {
            var check = await VmdkTableCheck.RunAsync(extent, cancellationToken);
            found.AddRange(check.Errors.Select(e => new ImageDiagnostic(Severity.Error, "tables", name, e.Offset, $"{name}: {e.Reason}; it is opened for reading only.")));
            if (check.Differences > 0)
            {
                found.Add(new(Severity.Info, "redundant_tables", name, (long)extent.Header.RedundantDirectory * SectorSize,
                    $"{name}: {check.Differences} redundant grain tables differ from the primary ones, as an interrupted write leaves them; the primary ones are used."));
            }
        }
        catch (DiskException e) when (e.Kind == ErrorKind.CorruptImage)
        {
            found.Add(new(Severity.Error, "tables", name, null, e.Message));
        }
    }

    /// <summary>The names that <c>create --variant</c> takes, and those of images of real disks.</summary>
    public static string VariantOf(VmdkDescriptor descriptor, bool sparse) =>
        descriptor.Parent is not null ? "differencing" : descriptor.CreateType switch
        {
            TypeStreamOptimized => "stream",
            TypeSplitSparse => "split2g",
            TypeSplitFlat => "split2g-fixed",
            TypeVmfs => "esx",
            TypeFullDevice => "full-device",
            TypePartitionedDevice => "partitioned-device",
            _ => sparse ? "dynamic" : "fixed",
        };
}
