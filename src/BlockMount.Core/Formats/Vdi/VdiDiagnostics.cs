using static BlockMount.Core.Formats.Vdi.VdiConstants;

namespace BlockMount.Core.Formats.Vdi;

/// <summary>Findings about a VDI that opens all the same.</summary>
internal static class VdiDiagnostics
{
    public static IReadOnlyList<ImageDiagnostic> Find(string name, VdiHeader header, VdiTable table)
    {
        var found = new List<ImageDiagnostic>();
        if (header.DiskSize % 512 != 0)
        {
            found.Add(new(Severity.Info, "odd_size", name, header.IsVersion0 ? OffDiskSizeV0 : OffDiskSize,
                $"{name}: the disk size, {header.DiskSize} bytes, is not a multiple of 512; VirtualBox leaves out the last {header.DiskSize % 512} bytes, this program shows them."));
        }

        if ((header.Flags & ~FlagZeroExpand) != 0)
        {
            found.Add(new(Severity.Warning, "unknown_flags", name, header.IsVersion0 ? OffFlagsV0 : OffFlags,
                $"{name}: the header flags are 0x{header.Flags:X}, of which only 0x{FlagZeroExpand:X} is known; it is opened for reading only."));
        }

        if (header.BlocksAllocated != table.Allocated)
        {
            found.Add(new(Severity.Info, "allocated_count", name, header.BlocksAllocatedField,
                $"{name}: the header counts {header.BlocksAllocated} allocated blocks and the table names {table.Allocated}; the difference is unused file space, as an interrupted write leaves it."));
        }

        if (header.Type != TypeDiff && header.IsDifferencing)
        {
            found.Add(new(Severity.Warning, "type_and_link", name, header.IsVersion0 ? OffTypeV0 : OffType,
                $"{name}: the type is {header.Type} but a parent UUID is set; it is taken for a differencing image, as VirtualBox does."));
        }

        return found;
    }
}
