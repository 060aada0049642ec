using System.Buffers.Binary;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vhd.VhdConstants;

namespace BlockMount.Core.Formats.Vhd;

/// <summary>
/// Puts another parent, or none, into an image. The dynamic header spans two sectors under one checksum and has no copy, so the footers are pointed
/// at a second one, whole and durable at the end of the file, while the first is written to (VHD.md, "Another parent").
/// </summary>
internal sealed class VhdRelink
{
    private readonly ByteStore _store;
    private readonly VhdFooter _old;
    private readonly VhdFooter _between;
    private readonly long _start;
    private readonly byte[] _locators;
    private readonly byte[] _second;
    private readonly List<(long Offset, byte[] Bytes)> _final = [];

    /// <param name="store">The image.</param>
    /// <param name="structure">Its footers and header now.</param>
    /// <param name="table">Its blocks.</param>
    /// <param name="stamp">Time stamp of the footers.</param>
    /// <param name="bytes">The header as stored; reserved fields stay.</param>
    /// <param name="parent">Null for none.</param>
    /// <param name="parentPath">Full path of the parent; null leaves its name out.</param>
    public VhdRelink(ByteStore store, VhdStructure structure, VhdTable table, uint stamp, byte[] bytes, ParentLink? parent, string? parentPath)
    {
        _store = store;
        _old = structure.Footer;
        _start = table.End;
        var texts = parent is null || parentPath is null ? [] : VhdLocators.For(store.Name, parentPath);
        (_locators, var laid) = VhdLocators.Lay(texts, _start);
        PutParent(bytes, parent, parentPath);
        _second = WithLocators(bytes, laid);

        // Old room is used again, so that only a text that outgrows it stays at the end of the file.
        var kept = laid.Select(e => RoomFor(e, structure, table) ?? e).ToArray();
        for (var i = 0; i < kept.Length; i++)
        {
            if (kept[i] != laid[i])
            {
                var room = new byte[(int)(kept[i].End - (long)kept[i].Offset)];
                texts[i].Text.CopyTo(room, 0);
                _final.Add(((long)kept[i].Offset, room));
            }
        }

        var home = IsHomeFree(structure.Sparse!, table, kept) ? FooterSize : structure.Sparse!.Position;
        HeaderBytes = WithLocators(bytes, kept);
        HeaderPosition = home;
        _final.Add((home, HeaderBytes));
        var type = parent is null ? TypeDynamic : TypeDifferencing;
        _between = _old.WithHeader(stamp, SecondPosition, type);
        Footer = _old.WithHeader(stamp, home, type);

        // Nothing stays between the last block and the footer: other programs put a block there and write to parts of it alone.
        FooterPosition = parent is null
            ? VhdTable.RoundUp(Math.Max(Math.Max(table.BlocksEnd, structure.Sparse!.TableEnd), home + DynamicHeaderSize))
            : kept.Any(e => (long)e.Offset >= _start) ? SecondPosition : _start;
    }

    /// <summary>The footers as they will be.</summary>
    public VhdFooter Footer { get; }

    /// <summary>Where the second of them will end the file; what the image needs lies in front of it.</summary>
    public long FooterPosition { get; }

    /// <summary>The header as it will be.</summary>
    public byte[] HeaderBytes { get; }

    public long HeaderPosition { get; }

    private long SecondPosition => _start + _locators.Length;

    /// <summary>Where the footer lies meanwhile.</summary>
    private long FooterBetween => SecondPosition + DynamicHeaderSize;

    /// <summary>Makes the change: old or new link are whole at every moment, names and all.</summary>
    public async ValueTask WriteAsync()
    {
        // The footer comes first and makes the file longer, so that the file's last sector is never anything else.
        await _store.WriteAsync(FooterBetween, _old.Bytes, CancellationToken.None);
        if (_store.Length > FooterBetween + FooterSize)
        {
            // Behind space that nothing names lies the footer of now, which would contradict the copy once that is another.
            await _store.FlushAsync(CancellationToken.None);
            await _store.SetLengthAsync(FooterBetween + FooterSize, CancellationToken.None);
            await _store.FlushAsync(CancellationToken.None);
        }

        await _store.WriteAsync(_start, _locators, CancellationToken.None);
        await _store.WriteAsync(SecondPosition, _second, CancellationToken.None);
        await _store.FlushAsync(CancellationToken.None);
        await VhdMetadata.WriteFootersAsync(_store, _old, _between, FooterBetween);
        foreach (var (offset, bytes) in _final)
        {
            await _store.WriteAsync(offset, bytes, CancellationToken.None);
        }

        await _store.FlushAsync(CancellationToken.None);
        await VhdMetadata.WriteFootersAsync(_store, _between, Footer, FooterBetween);
        await _store.WriteAsync(FooterPosition, Footer.Bytes, CancellationToken.None);
        await _store.FlushAsync(CancellationToken.None);
        await _store.SetLengthAsync(FooterPosition + FooterSize, CancellationToken.None);
        await _store.FlushAsync(CancellationToken.None);
    }

    private static void PutParent(byte[] header, ParentLink? parent, string? parentPath)
    {
        (parent?.Uuid ?? Guid.Empty).TryWriteBytes(header.AsSpan(OffParentUniqueId));
        BinaryPrimitives.WriteUInt32BigEndian(header.AsSpan(OffParentTimeStamp), (uint)Math.Clamp(parent?.ChangedAt ?? 0, 0, uint.MaxValue));
        VhdLocators.PutName(header, parent is null ? null : parentPath);
    }

    private static byte[] WithLocators(byte[] header, IReadOnlyList<VhdLocatorEntry> entries)
    {
        var bytes = (byte[])header.Clone();
        for (var i = 0; i < LocatorCount; i++)
        {
            (i < entries.Count ? entries[i] : default).Put(bytes, i);
        }

        VhdChecksum.Put(bytes, OffHeaderChecksum);
        return bytes;
    }

    /// <summary>The entry in the room of an old one of its kind; null when there is none that is large enough and nothing else's.</summary>
    private static VhdLocatorEntry? RoomFor(VhdLocatorEntry entry, VhdStructure structure, VhdTable table)
    {
        var header = structure.Sparse!;
        foreach (var old in header.Locators.Where(l => l.Code == entry.Code && l.End <= structure.ContentEnd))
        {
            var room = old.End - (long)old.Offset;
            if (room >= entry.Length && room <= MaxLocatorLength && IsFree((long)old.Offset, old.End, header, table, header.Locators.Where(l => l != old)))
            {
                return old with { Length = entry.Length };
            }
        }

        return null;
    }

    /// <summary>Whether the header may go to its usual place, where a change that was cut off may have taken it away from.</summary>
    private static bool IsHomeFree(VhdSparseHeader header, VhdTable table, IReadOnlyList<VhdLocatorEntry> locators) =>
        header.Position == FooterSize || IsFree(FooterSize, FooterSize + DynamicHeaderSize, header, table, locators);

    /// <summary>Whether a range of the file belongs to no footer, header, table, block or locator.</summary>
    private static bool IsFree(long from, long to, VhdSparseHeader header, VhdTable table, IEnumerable<VhdLocatorEntry> locators) =>
        from >= FooterSize
        && !VhdTable.Overlaps(from, to, header.Position, header.Position + DynamicHeaderSize)
        && !VhdTable.Overlaps(from, to, header.TableOffset, header.TableEnd)
        && !table.HasBlockIn(from, to)
        && !locators.Any(l => VhdTable.Overlaps(from, to, (long)Math.Min(l.Offset, long.MaxValue / 2), l.End));
}
