using System.Buffers.Binary;

namespace BlockMount.Core.Partitions;

/// <summary>Recognises partition tables that this program names but does not read.</summary>
internal static class ForeignTables
{
    public const string Ldm = "Windows dynamic disk (LDM)";

    private const uint BsdMagic = 0x82564557;
    private const int BsdSecondMagic = 132;
    private const uint SolarisSanity = 0x600DDEEE;
    private const int SolarisSanityAt = 12;
    private const ushort SunMagic = 0xDABE;
    private const int SunMagicAt = 508;
    private const uint SgiMagic = 0x0BE5A941;
    private const uint AixMagic = 0xC9C2D4C1;
    private const int LdmSector = 6;
    private const int Sector = 512;
    private const int HeadSize = 8192;

    /// <summary>The name of the scheme of a whole disk, or null.</summary>
    public static async ValueTask<string?> DetectAsync(BoundedReader reader, CancellationToken cancellationToken)
    {
        var head = new byte[HeadSize];
        if (await reader.ReadAsync(0, (int)Math.Min(HeadSize, reader.Length), cancellationToken) is not { } start)
        {
            return null;
        }

        start.CopyTo(head, 0);
        return NameOf(head);
    }

    /// <summary>The name of the table inside an MBR partition, or null.</summary>
    /// <param name="reader">The whole disk.</param>
    /// <param name="partition">Its range and type.</param>
    /// <param name="type">MBR type.</param>
    /// <param name="cancellationToken">Stops the reading.</param>
    public static async ValueTask<string?> DetectNestedAsync(
        BoundedReader reader, Partition partition, byte type, CancellationToken cancellationToken)
    {
        if (type is not (MbrLayout.Solaris or MbrLayout.Solaris2 or MbrLayout.FreeBsd or MbrLayout.OpenBsd or MbrLayout.NetBsd)
            || partition.Length < 2 * Sector
            || await reader.ReadAsync(partition.Start + Sector, Sector, cancellationToken) is not { } second)
        {
            return null;
        }

        return IsBsd(second) ? "BSD disklabel" : IsSolaris(second) ? "Solaris x86 table of contents" : null;
    }

    private static string? NameOf(ReadOnlySpan<byte> head)
    {
        if (BinaryPrimitives.ReadUInt32BigEndian(head) == SgiMagic)
        {
            return "SGI volume header";
        }

        if (BinaryPrimitives.ReadUInt32BigEndian(head) == AixMagic)
        {
            return "AIX boot record";
        }

        if (BinaryPrimitives.ReadUInt16BigEndian(head[SunMagicAt..]) == SunMagic && SunChecksumHolds(head[..Sector]))
        {
            return "Sun label";
        }

        if (head.StartsWith("ER"u8) && (head[Sector..].StartsWith("PM"u8) || head[2048..].StartsWith("PM"u8) || head[4096..].StartsWith("PM"u8)))
        {
            return "Apple partition map";
        }

        return IsBsd(head[Sector..]) || IsBsd(head) ? "BSD disklabel"
            : IsSolaris(head[Sector..]) ? "Solaris x86 table of contents"
            : IsLdm(head) ? Ldm
            : null;
    }

    private static bool IsLdm(ReadOnlySpan<byte> head) => head[(LdmSector * Sector)..].StartsWith("PRIVHEAD"u8);

    private static bool IsBsd(ReadOnlySpan<byte> sector) =>
        BinaryPrimitives.ReadUInt32LittleEndian(sector) == BsdMagic
        && BinaryPrimitives.ReadUInt32LittleEndian(sector[BsdSecondMagic..]) == BsdMagic;

    private static bool IsSolaris(ReadOnlySpan<byte> sector) =>
        BinaryPrimitives.ReadUInt32LittleEndian(sector[SolarisSanityAt..]) == SolarisSanity;

    private static bool SunChecksumHolds(ReadOnlySpan<byte> label)
    {
        var sum = 0;
        for (var at = 0; at < label.Length; at += 2)
        {
            sum ^= BinaryPrimitives.ReadUInt16BigEndian(label[at..]);
        }

        return sum == 0;
    }
}
