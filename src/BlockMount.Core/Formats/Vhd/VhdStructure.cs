using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vhd.VhdConstants;

namespace BlockMount.Core.Formats.Vhd;

/// <summary>Which of the two footers of a dynamic or differencing image are whole.</summary>
internal enum VhdCopies
{
    /// <summary>Both (a fixed image has one only).</summary>
    Whole,

    /// <summary>The copy at the start of the file; the footer at its end is gone, as an interrupted write leaves it.</summary>
    FooterLost,

    /// <summary>The footer at the end; its copy at the start is damaged.</summary>
    CopyLost,

    /// <summary>Both, and they describe different disks.</summary>
    Differ,
}

/// <summary>
/// The checked footers and dynamic header of one file: the only thing that layers are made from. <see cref="ReadAsync"/> decides which
/// of the copies holds (VHD.md, "Which footer holds").
/// </summary>
internal sealed record VhdStructure
{
    public required VhdFooter Footer { get; init; }

    public required VhdCopies Copies { get; init; }

    /// <summary>Null for a fixed image.</summary>
    public VhdSparseHeader? Sparse { get; init; }

    /// <summary>Byte offset of the footer at the end of the file; null when it is lost, or what lies there is another disk's.</summary>
    public required long? FooterPosition { get; init; }

    public required long FileLength { get; init; }

    /// <summary>The later of the copies' time stamps: a cut between writing the two leaves them apart.</summary>
    public required uint TimeStamp { get; init; }

    /// <summary>Where content must end: at the footer, or at the end of a file that lost it.</summary>
    public long ContentEnd => FooterPosition ?? FileLength;

    public ImageIdentity Identity => new(Footer.UniqueId, Guid.Empty, ChangedAt: TimeStamp);

    public ParentLink? Parent =>
        Footer.DiskType == TypeDifferencing ? new ParentLink(Sparse!.ParentUniqueId, Guid.Empty, ChangedAt: Sparse.ParentTimeStamp) : null;

    public string Variant => Footer.DiskType switch { TypeFixed => "fixed", TypeDynamic => "dynamic", _ => "differencing" };

    /// <summary>How sure a file's ends make it a VHD: 0 to 100.</summary>
    public static async ValueTask<int> ProbeAsync(ByteStore store, CancellationToken cancellationToken)
    {
        var ends = await VhdEnds.ReadAsync(store, cancellationToken);
        return ends switch
        {
            // The start of a fixed image is what its user wrote there, a VDI's header perhaps; the footer is not.
            { Tail: { } tail } when ends.IsExactlyFixed(tail) => 95,
            { Head: not null } or { Tail: not null } => 90,
            { HasCookie: true } => 60,
            _ => 0,
        };
    }

    /// <exception cref="DiskException">Not a VHD, damaged beyond what a copy can mend, or unsupported.</exception>
    public static async ValueTask<VhdStructure> ReadAsync(ByteStore store, CancellationToken cancellationToken)
    {
        var name = store.Name;
        var ends = await VhdEnds.ReadAsync(store, cancellationToken);
        var (footer, copies) = ends switch
        {
            { Tail: { } tail } when ends.IsExactlyFixed(tail) || (ends.Head is null && tail.DiskType == TypeFixed) => (tail, VhdCopies.Whole),
            { Head: { } head, Tail: { } tail } => (head, head.Agrees(tail) ? VhdCopies.Whole : VhdCopies.Differ),
            { Head: { } head } => (head, VhdCopies.FooterLost),
            { Tail: { } tail } => (tail, VhdCopies.CopyLost),
            { HasCookie: true } => throw DiskErrors.Corrupt(name, "no VHD footer of it is whole: the checksums of the footer and of its copy do not fit their bytes."),
            _ => throw DiskErrors.NotThisFormat(name, "it is not a VHD, neither its first nor its last sector is a footer (\"conectix\")."),
        };
        var structure = new VhdStructure
        {
            Footer = footer,
            Copies = copies,
            FooterPosition = ends.Tail is null || copies == VhdCopies.Differ ? null : ends.TailPosition,
            FileLength = ends.FileLength,
            TimeStamp = copies == VhdCopies.Whole && ends.Tail is { } last ? Math.Max(footer.TimeStamp, last.TimeStamp) : footer.TimeStamp,
        };
        VhdRules.CheckFooter(name, footer, structure.ContentEnd);
        if (footer.DiskType == TypeFixed)
        {
            return structure;
        }

        var bytes = new byte[DynamicHeaderSize];
        var position = (long)footer.DataOffset;
        await store.ReadAsync(position, bytes, cancellationToken);
        return structure with { Sparse = VhdSparseHeader.Parse(name, bytes, position, footer, ends.FileLength) };
    }
}

/// <summary>What lies at the two ends of a file.</summary>
/// <param name="FileLength">Bytes.</param>
/// <param name="Head">The footer copy at the start of a dynamic or differencing image.</param>
/// <param name="Tail">The footer at the end.</param>
/// <param name="TailPosition">Where <paramref name="Tail"/> starts.</param>
/// <param name="HasCookie">Whether either end has a footer's mark, damaged or not.</param>
internal sealed record VhdEnds(long FileLength, VhdFooter? Head, VhdFooter? Tail, long TailPosition, bool HasCookie)
{
    public static async ValueTask<VhdEnds> ReadAsync(ByteStore store, CancellationToken cancellationToken)
    {
        var length = store.Length;
        if (length < OldFooterSize)
        {
            return new VhdEnds(length, null, null, 0, HasCookie: false);
        }

        var first = new byte[(int)Math.Min(FooterSize, length)];
        await store.ReadAsync(0, first, cancellationToken);
        var last = new byte[first.Length];
        await store.ReadAsync(length - last.Length, last, cancellationToken);

        // A fixed image has no copy: what lies at its start belongs to its user.
        var head = VhdFooter.TryRead(first) is { DiskType: not TypeFixed } copy ? copy : null;
        var old = last.AsMemory(last.Length - OldFooterSize);
        var tail = VhdFooter.TryRead(last);
        var position = length - last.Length;
        if (tail is null && (tail = VhdFooter.TryRead(old.Span)) is not null)
        {
            position = length - OldFooterSize;
        }

        var hasCookie = VhdFooter.HasCookie(first) || VhdFooter.HasCookie(last) || VhdFooter.HasCookie(old.Span);
        return new VhdEnds(length, head, tail, position, hasCookie);
    }

    /// <summary>Whether the footer says fixed and its size is exactly what lies before it.</summary>
    public bool IsExactlyFixed(VhdFooter tail) => tail.DiskType == TypeFixed && tail.CurrentSize == (ulong)TailPosition;
}
