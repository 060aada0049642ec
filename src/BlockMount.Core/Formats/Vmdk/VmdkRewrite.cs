using System.Buffers.Binary;
using System.Security.Cryptography;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>Makes another text out of a descriptor's.</summary>
/// <param name="descriptor">What <paramref name="text"/> says.</param>
/// <param name="text">The text without what follows its end.</param>
internal delegate byte[] VmdkTextChange(VmdkDescriptor descriptor, ReadOnlySpan<byte> text);

/// <summary>
/// Puts another text in a descriptor's place so that a power cut leaves the old or the new one (VMDK.md, "Metadata"): as one sector where that
/// is all that differs; else inside an extent by way of a second copy that the header names meanwhile, and as a file by way of a new file.
/// </summary>
internal sealed class VmdkRewrite
{
    private readonly ByteStore _store;
    private readonly VmdkSource _old;
    private readonly byte[] _room;
    private readonly byte[] _filled;
    private readonly int _textLength;

    private VmdkRewrite(ByteStore store, VmdkSource old, byte[] room, byte[] filled, int textLength)
    {
        _store = store;
        _old = old;
        _room = room;
        _filled = filled;
        _textLength = textLength;
        Source = old with { Descriptor = VmdkDescriptor.Parse(store.Name, filled) };
    }

    /// <summary>The descriptor as it will be.</summary>
    public VmdkSource Source { get; }

    /// <summary>Works a change of the text, which is given without what follows its end, out and refuses it where it cannot be made safely. Changes nothing.</summary>
    public static async ValueTask<VmdkRewrite> PlanAsync(ByteStore store, VmdkTextChange change, CancellationToken cancellationToken)
    {
        // As it is now: it also holds what this session has written.
        var source = await VmdkSource.ReadAsync(store, cancellationToken);
        var size = source.Embedded is { } header ? (long)header.DescriptorSize * SectorSize : store.Length;
        var room = new byte[(int)Math.Min(size, MaxDescriptorSize)];
        await store.ReadAsync(source.DescriptorOffset, room, cancellationToken);
        var end = room.AsSpan().IndexOf((byte)0) is var zero and >= 0 ? zero : room.Length;
        var text = change(source.Descriptor, room.AsSpan(0, end));

        // What may follow the end of a text in its file is nobody's, and left out where the length changes.
        var length = source.Embedded is not null || text.Length == end ? room.Length : text.Length;
        if (source.Embedded is null ? text.Length > MaxDescriptorSize : text.Length >= room.Length)
        {
            throw MetadataRules.Refused(
                store.Name, $"the VMDK descriptor would have {text.Length} bytes; allowed are {(source.Embedded is null ? MaxDescriptorSize : room.Length - 1)}, shorten its comment or its parent's name.");
        }

        var filled = new byte[length];
        text.CopyTo(filled, 0);

        // Bytes behind both texts, or behind one that keeps its length, stay.
        var longer = Math.Max(end, text.Length);
        var kept = text.Length == end ? end : (int)Math.Min(length, ((longer / SectorSize) + 1L) * SectorSize);
        if (length == room.Length)
        {
            room.AsSpan(kept).CopyTo(filled.AsSpan(kept));
        }

        var rewrite = new VmdkRewrite(store, source, room, filled, longer);
        rewrite.RequireRoom();
        return rewrite;
    }

    /// <summary>Makes the change.</summary>
    /// <param name="provider">Makes the new file.</param>
    /// <returns>The store that holds the descriptor from now on: the old one, or another that the caller owns in its place.</returns>
    public async ValueTask<ByteStore> WriteAsync(IStoreProvider provider)
    {
        if (_filled.AsSpan().SequenceEqual(_room))
        {
            return _store;
        }

        if (OnlySector is { } sector)
        {
            var start = sector * SectorSize;
            await WriteAsync(_old.DescriptorOffset + start, _filled.AsMemory(start, Math.Min(SectorSize, _filled.Length - start)));
            return _store;
        }

        if (_old.Embedded is null)
        {
            return await ReplaceFileAsync(provider);
        }

        await WriteEmbeddedAsync();
        return _store;
    }

    /// <summary>The one sector in which old and new differ; null when there are more, or the length differs.</summary>
    private int? OnlySector
    {
        get
        {
            if (_filled.Length != _room.Length)
            {
                return null;
            }

            var first = _filled.AsSpan().CommonPrefixLength(_room);
            var last = _filled.Length - 1;
            while (last > first && _filled[last] == _room[last])
            {
                last--;
            }

            return first / SectorSize == last / SectorSize ? first / SectorSize : null;
        }
    }

    /// <summary>Sectors that either text takes, its closing zero included.</summary>
    private int TextSectors => (_textLength / SectorSize) + 1;

    /// <summary>
    /// Sectors from the text to where the second one goes meanwhile: empty ones, for others may be of a change that was cut off, or anybody's; null when
    /// the room has too few in a row.
    /// </summary>
    private int? SecondText
    {
        get
        {
            for (var at = TextSectors; (at + TextSectors) * SectorSize <= _room.Length; at++)
            {
                if (!_room.AsSpan(at * SectorSize, TextSectors * SectorSize).ContainsAnyExcept((byte)0))
                {
                    return at;
                }
            }

            return null;
        }
    }

    private void RequireRoom()
    {
        if (_old.Embedded is not null && OnlySector is null && !_filled.AsSpan().SequenceEqual(_room) && SecondText is null)
        {
            throw MetadataRules.Refused(
                _store.Name,
                $"the VMDK descriptor would need {2 * TextSectors} sectors while it is changed, so that a power cut leaves the old or the new one; allowed are the {_room.Length / SectorSize} set aside for it, as far as they are empty.");
        }
    }

    private async ValueTask WriteEmbeddedAsync()
    {
        var header = _old.Embedded!;
        var length = TextSectors * SectorSize;
        var sectors = (ulong)SecondText!.Value;
        var second = _old.DescriptorOffset + ((long)sectors * SectorSize);
        await WriteAsync(second, _filled.AsMemory(0, length));
        await PointAtAsync(header.DescriptorOffset + sectors, header.DescriptorSize - sectors);
        await WriteAsync(_old.DescriptorOffset, _filled.AsMemory(0, length));
        await PointAtAsync(header.DescriptorOffset, header.DescriptorSize);
        await WriteAsync(second, new byte[length]);
    }

    /// <summary>Both numbers lie in the file's first sector, so that no power cut parts them.</summary>
    private ValueTask PointAtAsync(ulong sector, ulong sectors)
    {
        var place = new byte[OffDescriptorSize + 8 - OffDescriptorOffset];
        BinaryPrimitives.WriteUInt64LittleEndian(place, sector);
        BinaryPrimitives.WriteUInt64LittleEndian(place.AsSpan(OffDescriptorSize - OffDescriptorOffset), sectors);
        return WriteAsync(OffDescriptorOffset, place);
    }

    private async ValueTask<ByteStore> ReplaceFileAsync(IStoreProvider provider)
    {
        var path = $"{_store.Name}.{Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(4))}.new";
        var made = await provider.CreateAsync(path);
        try
        {
            await made.WriteAsync(0, _filled, CancellationToken.None);
            await made.FlushAsync(CancellationToken.None);
            return await provider.ReplaceAsync(made, _store.Name);
        }
        catch
        {
            await made.DisposeAsync();
            provider.Delete(path);
            throw;
        }
    }

    private async ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> bytes)
    {
        await _store.WriteAsync(offset, bytes, CancellationToken.None);
        await _store.FlushAsync(CancellationToken.None);
    }
}
