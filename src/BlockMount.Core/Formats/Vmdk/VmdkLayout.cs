using System.Globalization;
using System.Numerics;
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
        RequireTexts(path, options);
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
        var text = VmdkDescriptorText.Begin(options, CreateType, contentId);
        foreach (var (path, length) in Extents)
        {
            var kind = IsSparse ? "SPARSE" : CreateType == TypeVmfs ? "VMFS" : "FLAT";
            text.Append(CultureInfo.InvariantCulture, $"RW {length} {kind} \"{System.IO.Path.GetFileName(path)}\"{(kind == "FLAT" ? " 0" : "")}\n");
        }

        return VmdkDescriptorText.End(text, options, CreateType == TypeVmfs ? "lsilogic" : "ide", uuid).ToString();
    }

    /// <summary>Where an image's files lie and how their names begin.</summary>
    public static string StemOf(string path) =>
        System.IO.Path.Combine(System.IO.Path.GetDirectoryName(path) ?? string.Empty, System.IO.Path.GetFileNameWithoutExtension(path));

    /// <exception cref="DiskException">The comment or a name cannot stand in a descriptor.</exception>
    public static void RequireTexts(string path, ImageCreateOptions options)
    {
        RequireComment(path, options.Comment);
        RequireName(path, System.IO.Path.GetFileName(path));
        RequireName(path, options.Parent?.NameHint);
    }

    /// <exception cref="DiskException">The name cannot stand in a descriptor.</exception>
    public static void RequireName(string path, string? name) =>
        Require(path, name is null || !name.Any(IsUnfit), "a VMDK descriptor cannot hold a file name with a quote or control character.");

    /// <exception cref="DiskException">The comment cannot stand in a descriptor.</exception>
    public static void RequireComment(string path, string comment)
    {
        Require(path, comment.Length <= 1000, $"the comment has {comment.Length} characters; a VMDK holds 1000.");
        Require(path, !VmdkText.Encode(comment).Any(char.IsControl), "the comment has a control character, which a VMDK descriptor cannot hold; allowed are others and line ends.");
        _ = MetadataRules.CommentBytes(path, comment, int.MaxValue);
    }

    public static void Require(string path, bool holds, string sentence)
    {
        if (!holds)
        {
            throw Refused(path, sentence);
        }
    }

    private static bool IsUnfit(char c) => c == '"' || char.IsControl(c);

    private static List<VmdkNewExtent> Cut(string path, long sectors, bool sparse, bool split)
    {
        var stem = StemOf(path);
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

    private static DiskException Refused(string path, string sentence) => new(ErrorKind.InvalidArgument, $"{path}: {sentence}");
}
