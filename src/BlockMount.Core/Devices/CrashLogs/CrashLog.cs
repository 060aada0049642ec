using System.Security.Cryptography;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Devices.CrashLogs.CrashLogFormat;

namespace BlockMount.Core.Devices.CrashLogs;

/// <summary>
/// What was written to a disk since its last flush, in a store that outlives the process, such as a file in memory: <see cref="CrashLogDevice"/> fills it,
/// <see cref="ReplayAsync"/> repeats it after the process was killed. A process that dies takes with it what it kept in its memory, table entries of new blocks above all; whoever holds the
/// other end of a device that goes on, as a kernel does, has been told that those writes are done, and will not send them again.
/// </summary>
public static class CrashLog
{
    /// <summary>Bytes of data that each of the two segments holds when nothing else is asked for.</summary>
    public const long DefaultRoom = 32 << 20;

    /// <summary>Least room of a segment, in bytes.</summary>
    public const long LeastRoom = 64 << 10;

    private const int LargestPiece = 1 << 20;

    /// <summary>Bytes that the store of a log has.</summary>
    /// <param name="room">Bytes of data in each segment.</param>
    public static long StoreLength(long room) => LengthOf(room);

    /// <summary>Repeats on a disk, in their order, the writes that a log holds, and flushes the disk. The log is unchanged, and may be repeated again.</summary>
    /// <param name="log">Was filled by a <see cref="CrashLogDevice"/> that nobody uses any more.</param>
    /// <param name="disk">The same disk, open again.</param>
    /// <param name="cancellationToken">Stops between records; the whole is to be repeated then.</param>
    /// <returns>How many writes were repeated.</returns>
    /// <exception cref="DiskException"><see cref="ErrorKind.CorruptImage"/>: it is no log, or one of a disk of another size; the disk is unchanged. Or the disk failed.</exception>
    public static async Task<long> ReplayAsync(ByteStore log, BlockDevice disk, CancellationToken cancellationToken = default)
    {
        var segments = new List<(int Number, long Order, byte[] Mark, long Room)>();
        for (var i = 0; i < Segments; i++)
        {
            var (order, mark, room) = await HeaderAsync(log, i, segments.Count > 0 ? segments[0].Room : (log.Length / Segments) - SegmentHeaderSize, disk, cancellationToken);
            segments.Add((i, order, mark, room));
        }

        var count = 0L;
        foreach (var segment in segments.Where(static s => s.Order > 0).OrderBy(static s => s.Order))
        {
            count += await RepeatAsync(log, StartOf(segment.Number, segment.Room) + SegmentHeaderSize, segment.Room, segment.Mark, disk, cancellationToken);
        }

        await disk.FlushAsync(cancellationToken);
        return count;
    }

    /// <summary>A mark that no bytes of an earlier use can have.</summary>
    internal static byte[] NewMark() => RandomNumberGenerator.GetBytes(MarkSize);

    private static async Task<(long Order, byte[] Mark, long Room)> HeaderAsync(
        ByteStore log, int segment, long room, BlockDevice disk, CancellationToken cancellationToken)
    {
        if (room < LeastRoom || LengthOf(room) != log.Length)
        {
            throw new DiskException(ErrorKind.CorruptImage, $"{log.Name}: {log.Length} bytes are not the length of a log of unflushed writes.") { Path = log.Name };
        }

        var bytes = new byte[SegmentHeaderSize];
        await log.ReadAsync(StartOf(segment, room), bytes, cancellationToken);
        if (ParseSegmentHeader(bytes) is not { } header || header.Room != room)
        {
            throw new DiskException(ErrorKind.CorruptImage, $"{log.Name}: segment {segment} does not begin as that of a log of unflushed writes does.") { Path = log.Name };
        }

        return header.DeviceLength == disk.Length
            ? (header.Order, header.Mark, room)
            : throw new DiskException(
                ErrorKind.CorruptImage, $"{log.Name}: its unflushed writes are those of a disk of {header.DeviceLength} bytes, and {disk.Name} has {disk.Length}.") { Path = log.Name };
    }

    private static async Task<long> RepeatAsync(
        ByteStore log, long start, long room, byte[] mark, BlockDevice disk, CancellationToken cancellationToken)
    {
        var header = new byte[RecordHeaderSize];
        var data = new byte[LargestPiece];
        var count = 0L;
        for (long at = 0; at + RecordHeaderSize <= room; count++)
        {
            await log.ReadAsync(start + at, header, cancellationToken);
            if (ParseRecordHeader(header, mark) is not { } record)
            {
                break;
            }

            if (record.Length < 0 || record.Length > disk.Length || SizeOf(record.Kind, record.Length) is var size && size > room - at)
            {
                throw new DiskException(ErrorKind.CorruptImage, $"{log.Name}: its record {count} is of {record.Length} bytes, more than fit there.") { Path = log.Name };
            }

            switch (record.Kind)
            {
                case CrashLogKind.Write:
                    for (long done = 0; done < record.Length; done += LargestPiece)
                    {
                        var piece = data.AsMemory(0, (int)Math.Min(LargestPiece, record.Length - done));
                        await log.ReadAsync(start + at + RecordHeaderSize + done, piece, cancellationToken);
                        await disk.WriteAsync(record.Offset + done, piece, WriteOptions.None, cancellationToken);
                    }

                    break;
                case CrashLogKind.Trim:
                    await disk.TrimAsync(record.Offset, record.Length, WriteOptions.None, cancellationToken);
                    break;
                default:
                    var options = record.Kind == CrashLogKind.ZeroKeepingSpace ? WriteOptions.KeepAllocated : WriteOptions.None;
                    await disk.ZeroAsync(record.Offset, record.Length, options, cancellationToken);
                    break;
            }

            at += size;
        }

        return count;
    }
}
