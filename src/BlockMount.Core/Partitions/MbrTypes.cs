using System.Globalization;

namespace BlockMount.Core.Partitions;

/// <summary>Names of MBR partition types, after the list that fdisk and the type registries agree on.</summary>
internal static class MbrTypes
{
    public static string NameOf(byte type) => type switch
    {
        0x00 => "Unused",
        0x01 => "FAT12",
        0x04 or 0x06 or 0x0E => "FAT16",
        0x05 or 0x0F => "Extended",
        0x07 => "NTFS, exFAT or HPFS",
        0x0B or 0x0C => "FAT32",
        0x11 or 0x14 or 0x16 or 0x1B or 0x1C or 0x1E => "Hidden FAT",
        0x12 => "Diagnostics",
        0x17 => "Hidden NTFS, exFAT or HPFS",
        0x27 => "Windows recovery",
        0x39 => "Plan 9",
        0x41 => "PReP boot",
        0x42 => "Windows dynamic disk",
        0x4D or 0x4E or 0x4F => "QNX4",
        0x63 => "Unix System V or Hurd",
        0x80 or 0x81 => "Minix",
        0x82 => "Linux swap or Solaris",
        0x83 => "Linux file system",
        0x84 => "Hibernation",
        0x85 => "Linux extended",
        0x88 => "Linux plaintext table",
        0x8E => "Linux LVM",
        0xA5 => "FreeBSD",
        0xA6 => "OpenBSD",
        0xA8 => "Darwin UFS",
        0xA9 => "NetBSD",
        0xAB => "Darwin boot",
        0xAF => "Apple HFS",
        0xBE => "Solaris boot",
        0xBF => "Solaris",
        0xDA => "Non-FS data",
        0xDE => "Dell utility",
        0xE8 => "LUKS",
        0xEA => "Linux extended boot",
        0xEB => "BeFS",
        0xEE => "GPT protective",
        0xEF => "EFI system",
        0xFB => "VMware VMFS",
        0xFC => "VMware swap",
        0xFD => "Linux RAID",
        _ => string.Create(CultureInfo.InvariantCulture, $"Unknown (0x{type:x2})"),
    };
}
