using System.Text;
using BlockMount.Core.Errors;

namespace BlockMount.Core.Machines;

/// <summary>Decodes the bytes of a machine file. VirtualBox writes UTF-8; editors may add a byte order mark or change to UTF-16.</summary>
internal static class VBoxText
{
    public static string Decode(ReadOnlySpan<byte> bytes, string path)
    {
        if (bytes.Length > VBoxMachineFile.MaximumSize)
        {
            throw DiskErrors.NotThisFormat(path, $"it has {bytes.Length} bytes, a VirtualBox machine file has at most {VBoxMachineFile.MaximumSize}.");
        }

        Encoding encoding = new UTF8Encoding(encoderShouldEmitUTF8Identifier: true, throwOnInvalidBytes: true);
        if (bytes.StartsWith((ReadOnlySpan<byte>)[0xFF, 0xFE]))
        {
            encoding = new UnicodeEncoding(bigEndian: false, byteOrderMark: true, throwOnInvalidBytes: true);
        }
        else if (bytes.StartsWith((ReadOnlySpan<byte>)[0xFE, 0xFF]))
        {
            encoding = new UnicodeEncoding(bigEndian: true, byteOrderMark: true, throwOnInvalidBytes: true);
        }

        var mark = encoding.Preamble;
        try
        {
            return encoding.GetString(bytes.StartsWith(mark) ? bytes[mark.Length..] : bytes);
        }
        catch (DecoderFallbackException e)
        {
            throw new DiskException(ErrorKind.NotThisFormat, $"{path}: it is not {encoding.WebName} text at byte {e.Index}, so it is not a VirtualBox machine file.", e)
            { Path = path, Offset = e.Index };
        }
    }
}
