using BlockMount.Core.Storage;

namespace BlockMount.Core.Formats;

/// <summary>Marks of image formats that this program recognises but does not read, so that they are never taken for raw disks.</summary>
internal static class ForeignSignatures
{
    /// <summary>A format that is at least this sure of a file outvotes these marks.</summary>
    public const int Certainty = 50;

    private static readonly (string Name, byte[] Mark)[] AtStart =
    [
        ("a VHDX", "vhdxfile"u8.ToArray()),
        ("a QCOW image", [0x51, 0x46, 0x49, 0xfb]),
        ("a QED image", "QED\0"u8.ToArray()),
        ("a Parallels image", "WithoutFreeSpace"u8.ToArray()),
        ("a Parallels image", "WithouFreSpacExt"u8.ToArray()),
    ];

    private static readonly (string Name, byte[] Mark)[] InLastSector =
    [
        ("an Apple disk image", "koly"u8.ToArray()),
    ];

    public static async ValueTask<string?> FindAsync(ByteStore store, CancellationToken cancellationToken)
    {
        if (store.Length < 512)
        {
            return null;
        }

        var sector = new byte[512];
        await store.ReadAsync(0, sector, cancellationToken);
        if (Match(AtStart, sector) is { } name)
        {
            return name;
        }

        await store.ReadAsync(store.Length - 512, sector, cancellationToken);
        return Match(InLastSector, sector);
    }

    private static string? Match((string Name, byte[] Mark)[] marks, byte[] sector) =>
        marks.FirstOrDefault(m => sector.AsSpan().StartsWith(m.Mark)).Name;
}
