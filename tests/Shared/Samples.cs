using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace BlockMount.TestSupport;

/// <summary>One row of the manifest of images that VirtualBox made.</summary>
internal sealed record Sample(string Set, int Level, string File, string Format, long VirtualSize, string Sha256, string FileSha256, string Uuid);

/// <summary>The images made by VirtualBox in tests/data, unpacked once per test run.</summary>
internal static class Samples
{
    private static readonly Lazy<string> Folder = new(Unpack);

    public static string Root => Folder.Value;

    public static IReadOnlyList<Sample> All { get; } = File.ReadLines(Path.Combine(DataFolder(), "virtualbox-samples.tsv"))
        .Skip(1)
        .Select(line => line.Split('\t'))
        .Select(f => new Sample(f[0], int.Parse(f[1]), f[2], f[3], long.Parse(f[4]), f[5], f[6], f[8]))
        .ToArray();

    public static IEnumerable<Sample> Vdi => All.Where(s => s.Format == "VDI");

    /// <summary>The VMDK images; a file that is only an extent of one has no content of its own.</summary>
    public static IEnumerable<Sample> Vmdk => Images.Where(s => s.Format == "VMDK");

    /// <summary>Every image of every format, each level of a chain by itself.</summary>
    public static IEnumerable<Sample> Images => All.Where(s => s.Sha256 != "-");

    public static string PathOf(string file) => Path.Combine(Root, file);

    public static string DataFolder([CallerFilePath] string here = "") => Path.GetFullPath(Path.Combine(here, "../../data"));

    private static string Unpack()
    {
        var folder = Directory.CreateTempSubdirectory("blockmount-samples-").FullName;
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Directory.Delete(folder, recursive: true);
        var tar = new ProcessStartInfo("tar", ["-xJf", Path.Combine(DataFolder(), "virtualbox-samples.tar.xz"), "-C", folder]);
        using var process = Process.Start(tar) ?? throw new InvalidOperationException("tar did not start");
        process.WaitForExit();
        return process.ExitCode == 0 ? folder : throw new InvalidOperationException($"tar exited {process.ExitCode}; is xz-utils installed?");
    }
}
