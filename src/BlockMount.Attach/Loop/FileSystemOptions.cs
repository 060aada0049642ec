using System.Globalization;
using BlockMount.Attach.Host;

namespace BlockMount.Attach.Loop;

/// <summary>What <c>mount</c> is told for each file system; see mount(8), ext4(5), xfs(5), btrfs(5) and the kernel's pages.</summary>
internal static class FileSystemOptions
{
    private const string KernelNtfs = "ntfs3";
    private const string FuseNtfs = "ntfs-3g";

    /// <summary>The value of <c>mount -o</c>.</summary>
    /// <exception cref="Core.Errors.DiskException">One of the user's own options is not allowed.</exception>
    public static string For(string type, MountOptions options)
    {
        OwnOptions.Check(type, options);

        // A device from an image is not trusted with device nodes and set-user-id programs. What the user says comes last, and counts.
        string[] always = [options.IsReadOnly ? "ro" : "rw", "nodev", "nosuid"];
        return string.Join(',', [.. always, .. OfType(type, options.IsReadOnly), .. OwnerOf(type, options.Owner), .. options.Own]);
    }

    /// <summary>The name under which this host mounts a type.</summary>
    public static string MountType(string type)
    {
        if (!string.Equals(type, "ntfs", StringComparison.Ordinal))
        {
            return type;
        }

        return HostProgram.Find($"mount.{FuseNtfs}") is not null && !KernelKnows(KernelNtfs) ? FuseNtfs : KernelNtfs;
    }

    /// <summary>
    /// Whether the kernel or a mount helper knows the type. Asked after a mount failed, when a module that exists has been loaded.
    /// </summary>
    public static bool HostCanMount(string type) => KernelKnows(MountType(type)) || HostProgram.Find("mount." + MountType(type)) is not null;

    /// <summary>What helps when a file system does not take writes; empty when nothing in particular does.</summary>
    public static string AdviceForWriting(string type) => type switch
    {
        "ntfs" => " A volume that Windows did not shut down takes no writes: mount it with --read-only, or start and shut down that Windows, or run ntfsfix on it.",
        "hfsplus" => " A journaled volume takes no writes here: mount it with --read-only.",
        _ => "",
    };

    private static string[] OfType(string type, bool isReadOnly) => type switch
    {
        // The superblock may ask for a panic of this host when an error is found.
        "ext2" => ["errors=remount-ro"],

        // A read-only mount replays the journal all the same unless told otherwise, and fails when the device refuses the writes.
        "ext3" or "ext4" => ["errors=remount-ro", .. When(isReadOnly, "noload")],

        // A copy of a disk has the same UUID, and xfs refuses a second one.
        "xfs" => ["nouuid", .. When(isReadOnly, "norecovery")],
        "btrfs" => When(isReadOnly, "rescue=nologreplay"),
        "f2fs" => When(isReadOnly, "norecovery"),

        // As desktops mount them: names in UTF-8, only programs executable, and little lost when a stick is pulled.
        "vfat" => ["umask=022", "utf8=1", "shortname=mixed", "showexec", .. When(!isReadOnly, "flush")],
        "exfat" => ["umask=022", "iocharset=utf8", "errors=remount-ro"],

        // Names that Windows could not open again are refused when they are made.
        "ntfs" when string.Equals(MountType(type), KernelNtfs, StringComparison.Ordinal) => ["umask=022", "iocharset=utf8", .. When(!isReadOnly, "windows_names")],
        "ntfs" => ["umask=022", .. When(!isReadOnly, "windows_names")],
        "hfsplus" => ["umask=022", "nls=utf8"],
        "iso9660" or "udf" => ["iocharset=utf8"],
        _ => [],
    };

    private static IEnumerable<string> OwnerOf(string type, MountOwner? owner) =>
        owner is { } who && type is "vfat" or "exfat" or "ntfs" or "hfs" or "hfsplus" or "iso9660" or "udf"
            ? [string.Create(CultureInfo.InvariantCulture, $"uid={who.User}"), string.Create(CultureInfo.InvariantCulture, $"gid={who.Group}")]
            : [];

    private static string[] When(bool condition, string option) => condition ? [option] : [];

    private static bool KernelKnows(string type)
    {
        const string file = "/proc/filesystems";
        return File.Exists(file) && File.ReadLines(file).Any(line => string.Equals(line.Split('\t')[^1].Trim(), type, StringComparison.Ordinal));
    }
}
