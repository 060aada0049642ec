using System.Globalization;
using BlockMount.Core.Errors;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>What may be done with an extent.</summary>
internal enum VmdkAccess
{
    NoAccess,
    ReadOnly,
    ReadWrite,
}

/// <summary>How an extent keeps its bytes.</summary>
internal enum VmdkExtentType
{
    /// <summary>SPARSE, and VMFSSPARSE of ESX.</summary>
    Sparse,

    /// <summary>SESPARSE of ESX 6.5 and later.</summary>
    SeSparse,

    /// <summary>FLAT, and VMFS of ESX.</summary>
    Flat,

    /// <summary>No file; reads as zero.</summary>
    Zero,
}

/// <summary>One line of a descriptor's extent description.</summary>
/// <param name="Access">What it allows.</param>
/// <param name="Sectors">Length in sectors, 1 or more.</param>
/// <param name="Type">Kind of extent.</param>
/// <param name="TypeName">The kind as written.</param>
/// <param name="FileName">As written; empty for a zero extent.</param>
/// <param name="FileSector">First sector of a flat extent in its file.</param>
internal sealed record VmdkExtentLine(VmdkAccess Access, long Sectors, VmdkExtentType Type, string TypeName, string FileName, long FileSector)
{
    public long Length => Sectors * SectorSize;

    public static bool IsExtent(string line) => AccessOf(line.Split([' ', '\t'], 2)[0]) is not null;

    /// <param name="name">The descriptor's file, for sentences.</param>
    /// <param name="line">The line, without its end.</param>
    /// <exception cref="DiskException">A field is missing or outside what is allowed, or the type is unknown.</exception>
    public static VmdkExtentLine Parse(string name, string line)
    {
        var fields = line.Split([' ', '\t'], 4, StringSplitOptions.RemoveEmptyEntries);
        Require(fields.Length >= 3, "it needs access, sectors and type");
        var access = AccessOf(fields[0])!.Value;
        Require(
            long.TryParse(fields[1], NumberStyles.None, CultureInfo.InvariantCulture, out var sectors) && sectors is > 0 and <= long.MaxValue / SectorSize,
            $"its size is '{ShownText.Short(fields[1])}', allowed is 1 to {long.MaxValue / SectorSize} sectors");
        var typeName = fields[2];
        var type = typeName switch
        {
            "SPARSE" or "VMFSSPARSE" => VmdkExtentType.Sparse,
            "SESPARSE" => VmdkExtentType.SeSparse,
            "FLAT" or "VMFS" => VmdkExtentType.Flat,
            "ZERO" => VmdkExtentType.Zero,
            "VMFSRDM" or "VMFSRAW" => throw DiskErrors.Unsupported(
                name, $"VMDK extent type is '{typeName}', which stands for a disk that only its ESX host can reach; clone the disk there (vmkfstools -i) and open the clone."),
            _ => throw DiskErrors.Unsupported(
                name, $"VMDK extent type is '{ShownText.Short(typeName)}'; this program reads SPARSE, FLAT, ZERO, VMFS, VMFSSPARSE and SESPARSE."),
        };
        if (type == VmdkExtentType.Zero)
        {
            return new(access, sectors, type, typeName, string.Empty, 0);
        }

        var rest = fields.Length > 3 ? fields[3] : string.Empty;
        var end = rest.LastIndexOf('"');
        Require(rest.StartsWith('"') && end > 1, "its file name is missing or not in quotes");
        Require(end - 1 <= ShownText.LongestPath, $"its file name has {end - 1} characters, allowed are {ShownText.LongestPath}");
        var after = rest[(end + 1)..].Trim();
        long fileSector = 0;
        Require(
            after.Length == 0 || type != VmdkExtentType.Flat
            || (long.TryParse(after.Split(' ')[0], NumberStyles.None, CultureInfo.InvariantCulture, out fileSector) && fileSector <= (long.MaxValue / SectorSize) - sectors),
            $"its offset in the file is '{ShownText.Short(after)}', allowed is a number of sectors");
        return new(access, sectors, type, typeName, rest[1..end], fileSector);

        void Require(bool holds, string reason)
        {
            if (!holds)
            {
                throw DiskErrors.Corrupt(name, $"the VMDK extent line '{ShownText.Short(line)}' cannot be read, {reason}.");
            }
        }
    }

    private static VmdkAccess? AccessOf(string word) => word switch
    {
        "RW" => VmdkAccess.ReadWrite,
        "RDONLY" => VmdkAccess.ReadOnly,
        "NOACCESS" => VmdkAccess.NoAccess,
        _ => null,
    };
}
