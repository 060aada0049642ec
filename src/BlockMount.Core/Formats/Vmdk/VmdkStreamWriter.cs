using System.Buffers.Binary;
using BlockMount.Core.Compression;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>
/// Writes a streamOptimized image: compressed grains in ascending order, each table behind its last grain, the directory and the footer at the
/// end. Nothing that was written is changed, so a file that was cut off lacks its footer and is refused (VMDK.md, "Streams").
/// </summary>
internal sealed class VmdkStreamWriter : SequentialImage
{
    private readonly ByteStore _store;
    private readonly VmdkLayout _layout;
    private readonly ZlibCodec _zlib;
    private readonly uint[] _directory;
    private readonly byte[] _table = new byte[4 * DefaultGtesPerGt];
    private readonly byte[] _header;
    private int _tableIndex = -1;
    private long _next;

    private VmdkStreamWriter(ByteStore store, VmdkLayout layout, ZlibCodec zlib, byte[] header, long next)
    {
        _store = store;
        _layout = layout;
        _zlib = zlib;
        _header = header;
        _next = next;
        var perTable = (long)layout.GrainSectors * DefaultGtesPerGt;
        _directory = new uint[checked((int)((layout.Extents[0].Sectors + perTable - 1) / perTable))];
    }

    public override int UnitSize => (int)_layout.GrainSectors * SectorSize;

    /// <summary>Writes header and descriptor.</summary>
    public static async ValueTask<VmdkStreamWriter> BeginAsync(
        ByteStore store, VmdkLayout layout, ZlibCodec zlib, byte[] descriptor, CancellationToken cancellationToken)
    {
        var descriptorSectors = VmdkCreator.DescriptorSectors(descriptor);
        var overHead = Math.Max(StreamOverHeadSectors, 1 + descriptorSectors);
        var header = VmdkCreator.Header(layout, layout.Extents[0].Sectors, descriptorSectors);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(OffVersion), StreamVersion);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(OffFlags), FlagNewLineTest | FlagCompressed | FlagMarkers);
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(OffGdOffset), GrainDirectoryAtEnd);
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(OffOverHead), overHead);
        BinaryPrimitives.WriteUInt16LittleEndian(header.AsSpan(OffCompressAlgorithm), CompressionDeflate);
        await store.SetLengthAsync(overHead * SectorSize, cancellationToken);
        await store.WriteAsync(0, header, cancellationToken);
        await store.WriteAsync(SectorSize, descriptor, cancellationToken);
        return new VmdkStreamWriter(store, layout, zlib, header, overHead);
    }

    public override ReadOnlyMemory<byte> Encode(long offset, ReadOnlyMemory<byte> unit)
    {
        var record = GC.AllocateUninitializedArray<byte>(GrainMarkerSize + _zlib.BoundFor(unit.Length) + SectorSize);
        var size = _zlib.Deflate(unit.Span, record.AsSpan(GrainMarkerSize));
        BinaryPrimitives.WriteInt64LittleEndian(record, offset / SectorSize);
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(MarkerOffSize), (uint)size);
        var end = GrainMarkerSize + size;
        var padded = (end + SectorSize - 1) / SectorSize * SectorSize;
        record.AsSpan(end, padded - end).Clear();
        return record.AsMemory(0, padded);
    }

    public override async ValueTask AppendAsync(long offset, ReadOnlyMemory<byte> encoded, CancellationToken cancellationToken)
    {
        var grain = offset / UnitSize;
        var table = (int)(grain / DefaultGtesPerGt);
        if (table != _tableIndex)
        {
            await EndTableAsync(cancellationToken);
            _tableIndex = table;
        }

        BinaryPrimitives.WriteUInt32LittleEndian(_table.AsSpan(4 * (int)(grain % DefaultGtesPerGt)), Sector());
        await AppendAsync(encoded, cancellationToken);
    }

    public override async ValueTask CompleteAsync(CancellationToken cancellationToken)
    {
        await EndTableAsync(cancellationToken);
        var directory = new byte[((4 * _directory.Length) + SectorSize - 1) / SectorSize * SectorSize];
        for (var i = 0; i < _directory.Length; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(directory.AsSpan(4 * i), _directory[i]);
        }

        await AppendAsync(Marker(MarkerDirectory, directory.Length), cancellationToken);
        BinaryPrimitives.WriteInt64LittleEndian(_header.AsSpan(OffGdOffset), Sector());
        await AppendAsync(directory, cancellationToken);
        await AppendAsync(Marker(MarkerFooter, _header.Length), cancellationToken);
        await AppendAsync(_header, cancellationToken);

        // The end-of-stream marker is a sector of zeros.
        await AppendAsync(new byte[SectorSize], cancellationToken);
        await _store.FlushAsync(cancellationToken);
    }

    private async ValueTask EndTableAsync(CancellationToken cancellationToken)
    {
        if (_tableIndex < 0)
        {
            return;
        }

        await AppendAsync(Marker(MarkerTable, _table.Length), cancellationToken);
        _directory[_tableIndex] = Sector();
        await AppendAsync(_table, cancellationToken);
        _table.AsSpan().Clear();
    }

    /// <summary>Where the next record goes, as tables hold it.</summary>
    private uint Sector() => _next <= uint.MaxValue ? (uint)_next : throw new DiskException(
        ErrorKind.NoSpace, $"{_store.Name}: the file cannot grow beyond {_next * SectorSize} bytes, sector numbers in a VMDK end at 2 TiB.") { Path = _store.Name };

    private async ValueTask AppendAsync(ReadOnlyMemory<byte> sectors, CancellationToken cancellationToken)
    {
        await _store.WriteAsync(_next * SectorSize, sectors, cancellationToken);
        _next += sectors.Length / SectorSize;
    }

    private static byte[] Marker(uint type, int bytes)
    {
        var marker = new byte[SectorSize];
        BinaryPrimitives.WriteInt64LittleEndian(marker, bytes / SectorSize);
        BinaryPrimitives.WriteUInt32LittleEndian(marker.AsSpan(MarkerOffType), type);
        return marker;
    }
}
