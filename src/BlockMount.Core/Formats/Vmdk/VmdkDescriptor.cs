using System.Globalization;
using System.Text;
using BlockMount.Core.Errors;
using BlockMount.Core.RawDisks;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>A value of the descriptor and where its bytes lie in the text, so that it can be changed in place.</summary>
/// <param name="Text">The value without quotes.</param>
/// <param name="Offset">Byte where it starts.</param>
/// <param name="FieldOffset">Byte where it starts with its quotes, if any.</param>
/// <param name="FieldLength">Bytes with the quotes.</param>
internal readonly record struct VmdkValue(string Text, int Offset, int FieldOffset, int FieldLength);

/// <summary>
/// A validated descriptor: the text that names a VMDK's extents and its identity. Keys that this program does not know are passed over
/// and stay in the file as they are.
/// </summary>
internal sealed class VmdkDescriptor
{
    /// <summary>Characters of a UUID without braces; exactly so many are replaced when a new one is written.</summary>
    private const int UuidLength = 36;

    private static readonly UTF8Encoding Utf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    private static readonly string[] KnownKeys =
    [
        KeyVersion, KeyContentId, KeyParentContentId, KeyCreateType, KeyParentHint, KeyChangeTrack, KeyUuidImage, KeyUuidModification,
        KeyUuidParent, KeyUuidParentModification, KeyParentState, KeyComment, KeyCylinders, KeyHeads, KeySectors, KeyBiosCylinders, KeyBiosHeads, KeyBiosSectors,
        .. VmdkFingerprint.Keys,
    ];

    private readonly string _name;
    private readonly Dictionary<string, VmdkValue> _values = new(StringComparer.OrdinalIgnoreCase);
    private readonly List<VmdkExtentLine> _extents = [];

    private VmdkDescriptor(string name) => _name = name;

    public IReadOnlyList<VmdkExtentLine> Extents => _extents;

    /// <summary>Such as <c>monolithicSparse</c>; empty when not said.</summary>
    public string CreateType => Text(KeyCreateType);

    public string Version => Text(KeyVersion);

    public string Comment => VmdkText.Decode(Text(KeyComment));

    public ImageIdentity Identity { get; private set; }

    public ParentLink? Parent { get; private set; }

    /// <summary>What the real disk behind it was when it was made; null when it does not say.</summary>
    public RawDiskFingerprint? RawDisk { get; private set; }

    public DiskGeometry? Pchs => Geometry(KeyCylinders, KeyHeads, KeySectors);

    public DiskGeometry? Lchs => Geometry(KeyBiosCylinders, KeyBiosHeads, KeyBiosSectors);

    /// <summary>Whether the bytes begin as a descriptor does, spaces and case aside.</summary>
    public static bool IsDescriptor(ReadOnlySpan<byte> start)
    {
        var line = start[..Math.Min(start.Length, 64)];
        var end = line.IndexOfAny((byte)'\n', (byte)'\r');
        var text = Encoding.Latin1.GetString(end < 0 ? line : line[..end]).Replace(" ", string.Empty, StringComparison.Ordinal);
        return text.Equals("#DiskDescriptorFile", StringComparison.OrdinalIgnoreCase);
    }

    /// <param name="name">The file, for sentences.</param>
    /// <param name="bytes">The text, up to 1 MiB; it ends at the first NUL.</param>
    /// <exception cref="DiskException">Not a descriptor, an unknown version, or a value outside what is allowed.</exception>
    public static VmdkDescriptor Parse(string name, ReadOnlySpan<byte> bytes)
    {
        if (!IsDescriptor(bytes))
        {
            throw DiskErrors.NotThisFormat(name, "it is not a VMDK descriptor, its first line is not '# Disk DescriptorFile'.");
        }

        var end = bytes.IndexOf((byte)0);
        var descriptor = new VmdkDescriptor(name);
        descriptor.ReadLines(end < 0 ? bytes : bytes[..end]);
        descriptor.Check();
        return descriptor;
    }

    public VmdkValue? Find(string key) => _values.TryGetValue(key, out var value) ? value : null;

    private void ReadLines(ReadOnlySpan<byte> bytes)
    {
        for (var at = 0; at < bytes.Length;)
        {
            var length = bytes[at..].IndexOf((byte)'\n');
            length = length < 0 ? bytes.Length - at : length;

            // One character per byte, so that positions in the line are positions in the file.
            ReadLine(Encoding.Latin1.GetString(bytes.Slice(at, length)), at);
            at += length + 1;
        }
    }

    private void ReadLine(string line, int at)
    {
        var start = line.Length - line.TrimStart().Length;
        var content = line.Trim();
        if (content.Length == 0 || content[0] == '#')
        {
            return;
        }

        if (VmdkExtentLine.IsExtent(content))
        {
            _extents.Add(VmdkExtentLine.Parse(_name, Decoded(content)));
            return;
        }

        var equals = content.IndexOf('=', StringComparison.Ordinal);
        if (equals < 0)
        {
            return;
        }

        var key = content[..equals].Trim();
        if (!KnownKeys.Contains(key, StringComparer.OrdinalIgnoreCase))
        {
            return;
        }

        var raw = content[(equals + 1)..];
        var value = raw.Trim();
        var offset = at + start + equals + 1 + (raw.Length - raw.TrimStart().Length);
        var (fieldOffset, fieldLength) = (offset, value.Length);
        if (value.StartsWith('"'))
        {
            var close = value.LastIndexOf('"');
            (value, offset) = (close > 0 ? value[1..close] : value[1..], offset + 1);
        }

        if (!_values.TryAdd(key, new VmdkValue(Decoded(value), offset, fieldOffset, fieldLength)))
        {
            throw DiskErrors.Corrupt(_name, $"the VMDK descriptor has the key {key} twice.");
        }
    }

    private void Check()
    {
        if (Version is not ("1" or "2" or "3"))
        {
            throw DiskErrors.Unsupported(_name, $"VMDK descriptor version is '{ShownText.Short(Version)}'; known are 1 to 3.");
        }

        if (_extents.Count == 0)
        {
            throw DiskErrors.Corrupt(_name, "the VMDK descriptor names no extent.");
        }

        long sectors = 0;
        foreach (var extent in _extents)
        {
            sectors = extent.Sectors <= (long.MaxValue / SectorSize) - sectors
                ? sectors + extent.Sectors
                : throw DiskErrors.Corrupt(_name, $"the VMDK extents add up to more than {long.MaxValue} bytes.");
        }

        RawDisk = VmdkFingerprint.Read(_name, this);
        Identity = new ImageIdentity(Uuid(KeyUuidImage), Uuid(KeyUuidModification), ContentId(KeyContentId));
        var parentUuid = Uuid(KeyUuidParent);
        var parentId = ContentId(KeyParentContentId) is { } id && id != NoParentContentId ? id : default(uint?);
        var hint = Text(KeyParentHint) is { Length: > 0 } text ? text : null;
        if (parentUuid != Guid.Empty || parentId is not null)
        {
            Parent = ParentInAnyState(parentUuid)
                ? new ParentLink(parentUuid, Guid.Empty, NameHint: hint)
                : new ParentLink(parentUuid, Uuid(KeyUuidParentModification), parentId, hint);
        }
    }

    /// <summary>A name alone, without UUID and content number, could be any image's.</summary>
    private bool ParentInAnyState(Guid parent) => Text(KeyParentState) switch
    {
        "" => false,
        ParentStateAny when parent != Guid.Empty => true,
        var other => throw DiskErrors.Corrupt(
            _name, $"VMDK {KeyParentState} is '{ShownText.Short(other)}'; allowed is '{ParentStateAny}' in an image that names its parent's UUID."),
    };

    private string Text(string key) => Find(key)?.Text ?? string.Empty;

    private Guid Uuid(string key)
    {
        var text = Text(key);
        return text.Length == 0 ? Guid.Empty
            : text.Length is UuidLength or UuidLength + 2 && Guid.TryParseExact(text, text.Length == UuidLength ? "D" : "B", out var uuid) ? uuid
            : throw DiskErrors.Corrupt(_name, $"VMDK {key} is '{ShownText.Short(text)}'; allowed is a UUID.");
    }

    private uint? ContentId(string key)
    {
        var text = Text(key);
        return text.Length == 0 ? null
            : uint.TryParse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var id) ? id
            : throw DiskErrors.Corrupt(_name, $"VMDK {key} is '{ShownText.Short(text)}'; allowed are 1 to 8 hexadecimal digits.");
    }

    private DiskGeometry? Geometry(string cylinders, string heads, string sectors) =>
        Number(cylinders) is { } c && Number(heads) is { } h && Number(sectors) is { } s ? new DiskGeometry(c, h, s) : null;

    private uint? Number(string key) => uint.TryParse(Text(key), NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : null;

    /// <summary>Names are UTF-8 nearly everywhere; what is not is taken byte for byte.</summary>
    private static string Decoded(string latin1)
    {
        try
        {
            return Utf8.GetString(Encoding.Latin1.GetBytes(latin1));
        }
        catch (DecoderFallbackException)
        {
            return latin1;
        }
    }
}
