using System.Text;
using BlockMount.Core.Errors;

namespace BlockMount.Core.Formats;

/// <summary>What a change of metadata must fulfil before any of it is made. Every refusal names the field, its value and what is allowed.</summary>
internal static class MetadataRules
{
    private static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>The rules that hold for every format.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.InvalidArgument"/>.</exception>
    public static void Check(ImageLayer layer, ImageMetadata change)
    {
        var path = layer.Path;
        const MetadataFields link = MetadataFields.ParentUuid | MetadataFields.ParentModificationUuid;
        Require(path, (change.Fields & link) == 0 || layer.Parent is not null,
            $"it has no parent, and a {NameOf(Lowest(change.Fields & link))} would make it a differencing image, which shows other bytes; only a differencing image's can be changed.");
        var missing = Lowest(change.Fields & ~layer.SettableFields);
        Require(path, missing == MetadataFields.None, $"this kind of image has no place for a {NameOf(missing)}; what can be changed is {Names(layer.SettableFields)}.");
        RequireUuid(path, MetadataFields.Uuid, change.Uuid);
        RequireUuid(path, MetadataFields.ModificationUuid, change.ModificationUuid);
        RequireUuid(path, MetadataFields.ParentUuid, change.ParentUuid);

        // A link to itself could never hold.
        var (uuid, parent) = (change.Uuid ?? layer.Identity.Uuid, change.ParentUuid ?? layer.Parent?.Uuid ?? Guid.Empty);
        Require(path, (change.Uuid ?? change.ParentUuid) is null || uuid == Guid.Empty || uuid != parent,
            $"UUID and parent UUID would both be {uuid}, and no image is its own parent; give two different ones.");
    }

    /// <summary>The rules for another parent that hold for every format.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.InvalidArgument"/>.</exception>
    public static void CheckRelink(ImageLayer layer, ParentLink? parent)
    {
        if (parent is { } link)
        {
            Require(layer.Path, layer.Parent is not null, "it has no parent, and a link to one would make it a differencing image, which shows other bytes; only a differencing image's can be changed.");
            Require(layer.Path, link.Uuid == Guid.Empty || link.Uuid != layer.Identity.Uuid,
                $"UUID and parent UUID would both be {link.Uuid}, and no image is its own parent; link it to another image.");
        }
    }

    /// <summary>For formats whose images know their parent by its UUID alone.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.InvalidArgument"/>: it has none.</exception>
    public static void RequireParentUuid(string path, ParentLink? parent) =>
        Require(path, parent is not { } link || link.Uuid != Guid.Empty, "the new parent has no UUID, by which alone this format knows a parent; give the parent a UUID, or convert it to .vdi.");

    /// <summary>A comment as UTF-8.</summary>
    /// <param name="path">The image.</param>
    /// <param name="comment">The text.</param>
    /// <param name="most">Bytes that fit.</param>
    /// <exception cref="DiskException"><see cref="ErrorKind.InvalidArgument"/>: too long, a zero character, or half of a surrogate pair.</exception>
    public static byte[] CommentBytes(string path, string comment, int most)
    {
        Require(path, !comment.Contains('\0', StringComparison.Ordinal), "the comment has a zero character, at which it would end; leave that out.");
        byte[] bytes;
        try
        {
            bytes = Strict.GetBytes(comment);
        }
        catch (EncoderFallbackException)
        {
            throw Refused(path, "the comment has half of a surrogate pair, which UTF-8 cannot hold; allowed are whole characters.");
        }

        Require(path, bytes.Length <= most, $"the comment has {bytes.Length} bytes in UTF-8; allowed are {most}.");
        return bytes;
    }

    /// <summary>A geometry whose heads and sectors start at 1, as those of disks do.</summary>
    /// <param name="path">The image.</param>
    /// <param name="field">Which one.</param>
    /// <param name="geometry">The value.</param>
    /// <param name="most">The largest number for each part.</param>
    /// <param name="mayBeUnsaid">Whether 0/0/0 is allowed.</param>
    /// <exception cref="DiskException"><see cref="ErrorKind.InvalidArgument"/>.</exception>
    public static void CheckGeometry(string path, MetadataFields field, DiskGeometry? geometry, DiskGeometry most, bool mayBeUnsaid)
    {
        if (geometry is { } g && !(mayBeUnsaid && g == default))
        {
            Require(path, g.Cylinders >= 1 && g.Cylinders <= most.Cylinders && g.Heads >= 1 && g.Heads <= most.Heads && g.Sectors >= 1 && g.Sectors <= most.Sectors,
                $"the {NameOf(field)} is {g.Cylinders}/{g.Heads}/{g.Sectors}; allowed are 1 to {most.Cylinders} cylinders, 1 to {most.Heads} heads and 1 to {most.Sectors} sectors{(mayBeUnsaid ? ", or 0/0/0" : "")}.");
        }
    }

    public static DiskException Refused(string path, string sentence) => new(ErrorKind.InvalidArgument, $"{path}: {sentence}") { Path = path };

    private static void RequireUuid(string path, MetadataFields field, Guid? uuid) =>
        Require(path, uuid != Guid.Empty, $"the {NameOf(field)} is all zero, which stands for none; allowed is any other UUID.");

    private static void Require(string path, bool holds, string sentence)
    {
        if (!holds)
        {
            throw Refused(path, sentence);
        }
    }

    private static MetadataFields Lowest(MetadataFields fields) => fields & (MetadataFields)(-(int)fields);

    private static string Names(MetadataFields fields) => fields == MetadataFields.None
        ? "nothing"
        : string.Join(", ", Enum.GetValues<MetadataFields>().Where(f => f != MetadataFields.None && fields.HasFlag(f)).Select(NameOf));

    private static string NameOf(MetadataFields field) => field switch
    {
        MetadataFields.Uuid => "UUID",
        MetadataFields.ModificationUuid => "modification UUID",
        MetadataFields.ParentUuid => "parent UUID",
        MetadataFields.ParentModificationUuid => "parent modification UUID",
        MetadataFields.Comment => "comment",
        MetadataFields.Pchs => "geometry",
        _ => "BIOS geometry",
    };
}
