using System.Runtime.InteropServices;
using BlockMount.Platform.Compression;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Hosts;

/// <summary>What this host offers; read-only, takes milliseconds. The <c>doctor</c> command prints it.</summary>
public static class HostFacts
{
    /// <summary>Every fact, always the same ones in the same order.</summary>
    public static IReadOnlyList<HostFact> Collect() => Collect("/dev", Environment.GetEnvironmentVariable("PATH") ?? "");

    internal static IReadOnlyList<HostFact> Collect(string devices, string searchPath) =>
    [
        new("kernel", true, KernelRelease(), "everything", null),
        Fact(
            "root", Shim.UserId() == 0, "running as root", $"running as user {Shim.UserId()}",
            "attaching block devices and mounting their file systems", "run the command with sudo"),
        Device(devices, "fuse", "dev_fuse", "showing an image as a file, and loop devices over it", "modprobe fuse"),
        LibFuse(),
        Program(searchPath, "fusermount3", "FUSE mounts without root", "apt install fuse3"),
        Device(devices, "loop-control", "loop_control", "a block device where the kernel has no nbd", "modprobe loop"),
        IoUring(),
        Zlib(),
        Nbd(devices),
    ];

    private static HostFact Fact(string name, bool present, string found, string missing, string purpose, string remedy) =>
        new(name, present, present ? found : missing, purpose, present ? null : remedy);

    private static HostFact Device(string devices, string file, string name, string purpose, string remedy)
    {
        var path = Path.Combine(devices, file);
        if (!File.Exists(path))
        {
            return Fact(name, false, path, $"{path} does not exist", purpose, remedy);
        }

        return Fact(name, CanOpen(path), path, $"{path} may not be opened by this user", purpose, $"run as root, or chmod 666 {path}");
    }

    /// <summary>Opening these devices alone does nothing.</summary>
    private static bool CanOpen(string path)
    {
        try
        {
            using var handle = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
            return true;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private static HostFact Program(string searchPath, string program, string purpose, string remedy)
    {
        var path = searchPath.Split(':', StringSplitOptions.RemoveEmptyEntries)
            .Select(directory => Path.Combine(directory, program)).FirstOrDefault(File.Exists);
        return Fact(program, path is not null, path ?? "", $"{program} is not on PATH", purpose, remedy);
    }

    private static HostFact LibFuse()
    {
        foreach (var name in new[] { "libfuse3.so.3", "libfuse3.so.4" })
        {
            if (NativeLibrary.TryLoad(name, out var library))
            {
                NativeLibrary.Free(library);
                return Fact("libfuse3", true, name, "", "showing an image as a file", "");
            }
        }

        return Fact("libfuse3", false, "", "libfuse3 was not found", "showing an image as a file", "apt install libfuse3-3");
    }

    private static HostFact Zlib()
    {
        var isFound = LibDeflate.Find() is not null;
        return Fact(
            "libdeflate", isFound, LibDeflate.SoName, $"{LibDeflate.SoName} was not found; the slower zlib of the runtime is used", "compressed images at full speed", "apt install libdeflate0");
    }

    private static HostFact IoUring()
    {
        var result = Shim.ProbeIoUring();
        return Fact(
            "io_uring", result == 0, "allowed", $"refused: {HostErrors.TextOf(result)}", "serving reads that miss the page cache at less cost; without it they use threads",
            HostErrors.IsUnsupported(result) ? "use a kernel built with io_uring" : "sysctl kernel.io_uring_disabled=0, and allow it in the container's seccomp profile");
    }

    private static HostFact Nbd(string devices)
    {
        var found = Directory.Exists(devices)
            ? Directory.GetFiles(devices, "nbd*").Count(static path => Path.GetFileName(path.AsSpan())[3..].IndexOfAnyExceptInRange('0', '9') < 0)
            : 0;
        return Fact(
            "nbd", found > 0, $"{found} devices", $"{Path.Combine(devices, "nbd0")} does not exist", "attaching images as /dev/nbdN",
            "modprobe nbd (a kernel built with it; Debian's are)");
    }

    private static string KernelRelease()
    {
        try
        {
            return File.ReadAllText("/proc/sys/kernel/osrelease").Trim();
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return Environment.OSVersion.Version.ToString();
        }
    }
}
