using BlockMount.Attach.Host;

namespace BlockMount.Attach.Loop;

/// <summary>What <c>mount</c> is told for each file system; see mount(8), ext4(5), xfs(5), btrfs(5) and the kernel's ntfs3 page.</summary>
internal static class FileSystemOptions
{
    /// <summary>The value of <c>mount -o</c>.</summary>
    public static string For(string type, bool isReadOnly)
    {
        // A device from an image is not trusted with device nodes and set-user-id programs.
        const string always = "nodev,nosuid";
        var access = isReadOnly ? "ro," + WithoutReplay(type) : "rw,";

        // A copy of a disk has the same UUID, and xfs refuses a second one.
        return access + (string.Equals(type, "xfs", StringComparison.Ordinal) ? "nouuid," : "") + always;
    }

    /// <summary>The name under which this host mounts a type.</summary>
    public static string MountType(string type)
    {
        const string kernelDriver = "ntfs3";
        const string fuseDriver = "ntfs-3g";
        if (!string.Equals(type, "ntfs", StringComparison.Ordinal))
        {
            return type;
        }

        return HostProgram.Find($"mount.{fuseDriver}") is not null && !KernelKnows(kernelDriver) ? fuseDriver : kernelDriver;
    }

    /// <summary>
    /// Whether the kernel or a mount helper knows the type. Asked after a mount failed, when a module that exists has been loaded.
    /// </summary>
    public static bool HostCanMount(string type) => KernelKnows(MountType(type)) || HostProgram.Find("mount." + MountType(type)) is not null;

    /// <summary>A read-only mount replays the journal all the same unless told otherwise, and fails when the device refuses the writes.</summary>
    private static string WithoutReplay(string type) => type switch
    {
        "ext3" or "ext4" => "noload,",
        "xfs" => "norecovery,",
        "btrfs" => "rescue=nologreplay,",
        "f2fs" => "norecovery,",
        _ => "",
    };

    private static bool KernelKnows(string type)
    {
        const string file = "/proc/filesystems";
        return File.Exists(file) && File.ReadLines(file).Any(line => string.Equals(line.Split('\t')[^1].Trim(), type, StringComparison.Ordinal));
    }
}
