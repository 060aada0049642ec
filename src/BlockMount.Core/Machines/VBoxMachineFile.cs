using BlockMount.Core.Errors;

namespace BlockMount.Core.Machines;

/// <summary>
/// A VirtualBox machine file (<c>.vbox</c>): which images it registers, how they descend from each other, and which of them are
/// the machine's current disks.
/// </summary>
public sealed class VBoxMachineFile
{
    /// <summary>Bytes, or characters, that a machine file may have.</summary>
    public const int MaximumSize = 16 << 20;

    private const int MostDescribed = 32;

    private readonly Dictionary<Guid, VBoxDisk> _disks;

    internal VBoxMachineFile(string path, IEnumerable<VBoxDisk> disks)
    {
        FilePath = path;
        Disks = [.. disks];
        _disks = Disks.ToDictionary(disk => disk.Uuid);
    }

    /// <summary>Absolute path of the machine file.</summary>
    public string FilePath { get; }

    public required string Name { get; init; }

    public Guid? Uuid { get; init; }

    /// <summary>Version and host system of the settings, such as <c>1.16-linux</c>; empty when the file does not say.</summary>
    public required string SettingsVersion { get; init; }

    /// <summary>Every registered image, parents before their children.</summary>
    public IReadOnlyList<VBoxDisk> Disks { get; }

    /// <summary>The machine's hard disks as they are now, never those of a snapshot.</summary>
    public required IReadOnlyList<VBoxAttachment> Attachments { get; init; }

    public required IReadOnlyList<VBoxSnapshot> Snapshots { get; init; }

    /// <summary>Reads a machine file from its bytes: UTF-8, or UTF-16 with a byte order mark.</summary>
    /// <inheritdoc cref="Parse(string, string)"/>
    public static VBoxMachineFile Parse(ReadOnlyMemory<byte> bytes, string path) => Parse(VBoxText.Decode(bytes.Span, path), path);

    /// <summary>Reads a machine file. Touches no file.</summary>
    /// <param name="text">The whole file, at most <see cref="MaximumSize"/>.</param>
    /// <param name="path">Where it is; relative locations count from its folder.</param>
    /// <exception cref="DiskException">
    /// <see cref="ErrorKind.NotThisFormat"/>: it is not a machine file. <see cref="ErrorKind.CorruptImage"/>: it is one with an
    /// error, named by its line. <see cref="ErrorKind.UnsupportedFeature"/>: the machine is encrypted.
    /// </exception>
    public static VBoxMachineFile Parse(string text, string path)
    {
        ArgumentNullException.ThrowIfNull(text);
        ArgumentException.ThrowIfNullOrEmpty(path);
        return new VBoxMachineParser(text, path).Parse();
    }

    /// <summary>The registered image, or null.</summary>
    public VBoxDisk? FindDisk(Guid uuid) => _disks.GetValueOrDefault(uuid);

    /// <summary>The image and its ancestors as registered, leaf first; empty when it is not registered.</summary>
    public IReadOnlyList<VBoxDisk> ChainOf(Guid uuid)
    {
        // Links come from nesting in the file and UUIDs are unique, so there is no circle.
        var chain = new List<VBoxDisk>();
        for (var disk = FindDisk(uuid); disk is not null; disk = disk.ParentUuid is { } parent ? FindDisk(parent) : null)
        {
            chain.Add(disk);
        }

        return chain;
    }

    /// <summary>Picks one of the machine's current disks.</summary>
    /// <param name="selector">
    /// Null for the only disk; otherwise a UUID, a file name with or without extension, <c>controller:port</c> or
    /// <c>controller:port:device</c>, in any case. UUIDs and names of an ancestor, such as the base image that the user knows,
    /// mean the current state of that disk too.
    /// </param>
    /// <exception cref="DiskException">
    /// <see cref="ErrorKind.NotFound"/>: no disk, or none that matches. <see cref="ErrorKind.InvalidArgument"/>: several match.
    /// </exception>
    public VBoxAttachment SelectDisk(string? selector)
    {
        if (Attachments.Count == 0)
        {
            throw new DiskException(ErrorKind.NotFound, $"{FilePath}: the machine \"{ShownText.Short(Name)}\" has no hard disk.") { Path = FilePath };
        }

        if (selector is null)
        {
            return Attachments.Count == 1 ? Attachments[0] : throw Ambiguous("has several hard disks", Attachments);
        }

        // A disk's own name decides before a name it shares with others through an ancestor.
        var matches = Attachments.Where(attachment => MatchesSlot(attachment, selector) || MatchesImage(attachment.Uuid, attachment.Disk, selector)).ToArray();
        if (matches.Length == 0)
        {
            matches = [.. Attachments.Where(attachment => ChainOf(attachment.Uuid).Any(disk => MatchesImage(disk.Uuid, disk, selector)))];
        }

        return matches.Length switch
        {
            1 => matches[0],
            0 => throw new DiskException(
                ErrorKind.NotFound, $"{FilePath}: the machine \"{ShownText.Short(Name)}\" has no hard disk \"{ShownText.Short(selector)}\"; it has {Describe(Attachments)}.") { Path = FilePath },
            _ => throw Ambiguous($"has several hard disks that \"{ShownText.Short(selector)}\" may mean", matches),
        };
    }

    private static bool MatchesSlot(VBoxAttachment attachment, string selector) =>
        attachment.Slot.Equals(selector, StringComparison.OrdinalIgnoreCase)
        || attachment.Slot[..attachment.Slot.LastIndexOf(':')].Equals(selector, StringComparison.OrdinalIgnoreCase);

    private static bool MatchesImage(Guid uuid, VBoxDisk? disk, string selector) =>
        (Guid.TryParse(selector, out var wanted) && wanted == uuid)
        || (disk is { FileName.Length: > 0 }
            && (disk.FileName.Equals(selector, StringComparison.OrdinalIgnoreCase)
                || Path.GetFileNameWithoutExtension(disk.FileName).Equals(selector, StringComparison.OrdinalIgnoreCase)));

    private DiskException Ambiguous(string problem, IReadOnlyList<VBoxAttachment> choices) =>
        new(ErrorKind.InvalidArgument, $"{FilePath}: the machine \"{ShownText.Short(Name)}\" {problem}; name one of {Describe(choices)}.") { Path = FilePath };

    private string Describe(IReadOnlyList<VBoxAttachment> attachments) =>
        string.Join(", ", attachments.Take(MostDescribed).Select(attachment =>
            $"{ShownText.Short(attachment.Slot)} ({(ChainOf(attachment.Uuid) is [.., var origin] ? ShownText.Short(origin.FileName) : attachment.Uuid.ToString("B"))})"))
        + (attachments.Count > MostDescribed ? $" and {attachments.Count - MostDescribed} more" : string.Empty);
}
