using System.Globalization;
using System.Text;
using BlockMount.Core.Errors;
using BlockMount.Core.RawDisks;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>A raw disk's fingerprint as keys of a descriptor, which other programs pass over.</summary>
internal static class VmdkFingerprint
{
    public static readonly string[] Keys = [KeyRawDisk, KeyRawSize, KeyRawSectorSize, KeyRawSerial, KeyRawTableId, KeyRawTableCrc];

    public static void Append(StringBuilder text, RawDiskFingerprint fingerprint)
    {
        Add(KeyRawDisk, fingerprint.DiskPath);
        Add(KeyRawSize, fingerprint.Size.ToString(CultureInfo.InvariantCulture));
        Add(KeyRawSectorSize, fingerprint.SectorSize.ToString(CultureInfo.InvariantCulture));

        // What the hardware says may have any character in it.
        Add(KeyRawSerial, fingerprint.Serial is { } serial ? Uri.EscapeDataString(serial) : null);
        Add(KeyRawTableId, fingerprint.TableId);
        Add(KeyRawTableCrc, fingerprint.TableCrc?.ToString("x8", CultureInfo.InvariantCulture));

        void Add(string key, string? value)
        {
            if (value is not null)
            {
                text.Append(CultureInfo.InvariantCulture, $"{key}=\"{value}\"\n");
            }
        }
    }

    /// <summary>Null when the descriptor has none of the keys.</summary>
    /// <exception cref="DiskException">One that is needed is missing, or a value is outside what is allowed.</exception>
    public static RawDiskFingerprint? Read(string name, VmdkDescriptor descriptor)
    {
        if (!Keys.Any(key => descriptor.Find(key) is not null))
        {
            return null;
        }

        return new()
        {
            DiskPath = Needed<string>(KeyRawDisk, static text => Path.IsPathFullyQualified(text) && text.Length <= ShownText.LongestPath ? text : null, "a full path"),
            Size = Needed<long>(KeyRawSize, static text => long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var size) ? size : null, "a number of bytes"),
            SectorSize = Needed<int>(KeyRawSectorSize, static text => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var size) ? size : null, "a number of bytes"),
            Serial = descriptor.Find(KeyRawSerial) is { } serial ? Uri.UnescapeDataString(serial.Text) : null,
            TableId = descriptor.Find(KeyRawTableId)?.Text,
            TableCrc = descriptor.Find(KeyRawTableCrc) is null
                ? null
                : Needed<uint>(
                    KeyRawTableCrc,
                    static text => text.Length == 8 && uint.TryParse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var crc) ? crc : null,
                    "8 hexadecimal digits"),
        };

        T Needed<T>(string key, Func<string, object?> parse, string allowed)
        {
            var text = descriptor.Find(key)?.Text;
            return text is not null && parse(text) is T value
                ? value
                : throw DiskErrors.Corrupt(name, $"VMDK {key} is {(text is null ? "missing" : $"'{ShownText.Short(text)}'")}; allowed is {allowed}.");
        }
    }
}
