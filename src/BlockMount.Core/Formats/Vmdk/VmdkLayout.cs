using System.Globalization;
using System.Numerics;
using System.Text;
using BlockMount.Core.Errors;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>One extent of a new image.</summary>
/// <param name="Path">Its file.</param>
/// <param name="Sectors">Its length.</param>
internal readonly record struct VmdkNewExtent(string Path, long Sectors);

/// <summary>What the files of a new image will be, decided before any is made.</summary>
internal sealed record VmdkLayout
{
    public required string CreateType { get; init; }

    public required bool IsSparse { get; init; }

    /// <summary>Sectors of a grain of a sparse layout.</summary>
    public required uint GrainSectors { get; init; }

    public required IReadOnlyList<VmdkNewExtent> Extents { get; init; }

    /// <summary>Whether the descriptor lies inside the one extent.</summary>
    public bool IsEmbedded => CreateType is TypeMonolithicSparse or TypeStreamOptimized;

    /// <summary>Whether it is written once, from start to end.</summary>
    public bool IsStream => CreateType == TypeStreamOptimized;

    /// <summary>The image's files, the one with the descriptor first.</summary>
    public static IReadOnlyList<string> FilesFor(string path, ImageCreateOptions options)
    {
        var layout = Plan(path, options);
        return layout.IsEmbedded ? [path] : [path, .. layout.Extents.Select(static e => e.Path)];
    }

    /// <exception cref="DiskException">An option that VMDK does not allow.</exception>
    public static VmdkLayout Plan(string path, ImageCreateOptions options)
    {
        var (type, sparse, split) = (options.Parent is not null ? null : options.Variant) switch
        {
            null or "dynamic" => (TypeMonolithicSparse, true, false),
            "fixed" => (TypeMonolithicFlat, false, false),
            "split2g" => (TypeSplitSparse, true, true),
            "split2g-fixed" => (TypeSplitFlat, false, true),
            "esx" => (TypeVmfs, false, false),
            "stream" => (TypeStreamOptimized, true, false),
            var other => throw Refused(path, $"a VMDK of variant '{other}' cannot be made; allowed are dynamic, fixed, split2g, split2g-fixed, esx and stream."),
        };
        Require(path, options.Capacity > 0 && options.Capacity % SectorSize == 0,
            $"a disk size of {options.Capacity} bytes is not allowed for a VMDK, only a positive multiple of {SectorSize}.");
        var grain = options.BlockSize ?? (DefaultGrainSectors * SectorSize);
        Require(path, !sparse || (grain >= (long)MinGrainSectors * SectorSize && grain <= (long)MaxGrainSectors * SectorSize && BitOperations.IsPow2(grain)),
            $"a VMDK grain size of {grain} is not allowed, only a power of two from {MinGrainSectors * SectorSize} to {MaxGrainSectors * SectorSize}.");
        Require(path, options.Comment.Length <= 1000, $"the comment has {options.Comment.Length} characters; a VMDK holds 1000.");
        Require(path, !System.IO.Path.GetFileName(path).Any(IsUnfit) && !(options.Parent?.NameHint ?? string.Empty).Any(IsUnfit),
            "a VMDK descriptor cannot hold a file name with a quote or control character.");
        Require(path, !VmdkText.Encode(options.Comment).Any(char.IsControl), "the comment has a control character, which a VMDK descriptor cannot hold.");
        var limit = ((1L << 32) * SectorSize) - (1L << 34);
        Require(path, !sparse || split || options.Capacity <= limit,
            $"a disk of {options.Capacity} bytes does not fit one sparse VMDK file, which ends at {limit}; use --variant split2g or fixed.");
        return new VmdkLayout
        {
            CreateType = type,
            IsSparse = sparse,
            GrainSectors = (uint)(grain / SectorSize),
            Extents = Cut(path, options.Capacity / SectorSize, sparse, split),
        };
    }

    /// <summary>The descriptor's text, without padding.</summary>
    public string Text(ImageCreateOptions options, uint contentId, Guid uuid)
    {
        var text = new StringBuilder();
        var parent = options.Parent;
        text.Append(CultureInfo.InvariantCulture, $"# Disk DescriptorFile\nversion=1\nCID={contentId:x8}\n");
        text.Append(CultureInfo.InvariantCulture, $"parentCID={parent?.ContentId ?? NoParentContentId:x8}\ncreateType=\"{CreateType}\"\n");
        if (parent?.NameHint is { } hint)
        {
            text.Append(CultureInfo.InvariantCulture, $"parentFileNameHint=\"{hint}\"\n");
        }

        text.Append("\n# Extent description\n");
        foreach (var (path, length) in Extents)
        {
            var kind = IsSparse ? "SPARSE" : CreateType == TypeVmfs ? "VMFS" : "FLAT";
            text.Append(CultureInfo.InvariantCulture, $"RW {length} {kind} \"{System.IO.Path.GetFileName(path)}\"{(kind == "FLAT" ? " 0" : "")}\n");
        }

        var cylinders = Math.Clamp(options.Capacity / SectorSize / (16 * 63), 1, 16383);
        text.Append("\n# The disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\n");
        text.Append(CultureInfo.InvariantCulture, $"ddb.adapterType=\"{(CreateType == TypeVmfs ? "lsilogic" : "ide")}\"\n");
        text.Append(CultureInfo.InvariantCulture, $"ddb.geometry.cylinders=\"{cylinders}\"\nddb.geometry.heads=\"16\"\nddb.geometry.sectors=\"63\"\n");
        text.Append(CultureInfo.InvariantCulture, $"ddb.uuid.image=\"{uuid:D}\"\nddb.uuid.parent=\"{parent?.Uuid ?? Guid.Empty:D}\"\n");
        text.Append(CultureInfo.InvariantCulture, $"ddb.uuid.modification=\"{Guid.NewGuid():D}\"\nddb.uuid.parentmodification=\"{parent?.ModificationUuid ?? Guid.Empty:D}\"\n");
        if (options.Comment.Length > 0)
        {
            text.Append(CultureInfo.InvariantCulture, $"ddb.comment=\"{VmdkText.Encode(options.Comment)}\"\n");
        }

        return text.ToString();
    }

    private static bool IsUnfit(char c) => c == '"' || char.IsControl(c);

    private static List<VmdkNewExtent> Cut(string path, long sectors, bool sparse, bool split)
    {
        var stem = System.IO.Path.Combine(System.IO.Path.GetDirectoryName(path) ?? string.Empty, System.IO.Path.GetFileNameWithoutExtension(path));
        if (!split)
        {
            return [new VmdkNewExtent(sparse ? path : stem + "-flat.vmdk", sectors)];
        }

        var extents = new List<VmdkNewExtent>();
        for (long done = 0; done < sectors; done += SplitSectors)
        {
            var number = (extents.Count + 1).ToString("000", CultureInfo.InvariantCulture);
            extents.Add(new VmdkNewExtent($"{stem}-{(sparse ? 's' : 'f')}{number}.vmdk", Math.Min(SplitSectors, sectors - done)));
        }

        return extents;
    }

    private static void Require(string path, bool holds, string sentence)
    {
        if (!holds)
        {
            throw Refused(path, sentence);
        }
    }

    private static DiskException Refused(string path, string sentence) => new(ErrorKind.InvalidArgument, $"{path}: {sentence}");
}
