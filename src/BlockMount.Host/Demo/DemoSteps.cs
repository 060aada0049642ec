using System.Security.Cryptography;
using BlockMount.Core.Errors;
using BlockMount.Platform.Hosts;

namespace BlockMount.Host.Demo;

/// <summary>The demo, step by step, in a folder that is removed afterwards.</summary>
internal sealed class DemoSteps(string folder, CancellationToken cancellation)
{
    private const string Written = "written through the snapshot\n";
    private readonly DemoShell _shell = new(folder);
    private readonly IReadOnlyList<HostFact> _facts = HostFacts.Collect();

    private string Mount => Path.Combine(folder, "mnt");

    private bool Has(string fact) => _facts.Any(f => f.Name == fact && f.IsPresent);

    /// <returns>Whether everything read back as it was written.</returns>
    public async Task<bool> RunAsync()
    {
        await MakeChainAsync();
        var baseBefore = await HashAsync("base.vdi");
        await ServeAsync();
        var seen = Has("dev_fuse") && Has("libfuse3")
            ? await ThroughMountAsync()
            : Skip("This host has no FUSE (see blockmount doctor), so nothing is mounted.");
        Console.WriteLine("\nThe snapshot took the writes; is the image below it unchanged?");
        var same = baseBefore == await HashAsync("base.vdi");
        Console.WriteLine(same ? "yes, byte for byte" : "NO: base.vdi changed");
        return same && seen && await CheckFileSystemAsync();
    }

    private async Task MakeChainAsync()
    {
        Console.WriteLine("A disk with a file system and some files in it, and a snapshot on top:");
        var tree = Directory.CreateDirectory(Path.Combine(folder, "tree")).FullName;
        await File.WriteAllTextAsync(Path.Combine(tree, "hello.txt"), "hello from the base image\n", cancellation);
        Directory.CreateDirectory(Path.Combine(tree, "letters"));
        for (var c = 'a'; c <= 'e'; c++)
        {
            await File.WriteAllTextAsync(Path.Combine(tree, "letters", $"{c}.txt"), new string(c, 5000), cancellation);
        }

        if (await _shell.ToolAsync(show: false, "mke2fs", "-q", "-t", "ext4", "-d", "tree", "disk.raw", "64M") is null)
        {
            throw new DiskException(ErrorKind.HostLacks, "The demo needs mke2fs to make a file system; install the package e2fsprogs.");
        }

        await _shell.BlockmountAsync("convert", "disk.raw", "base.vdi");
        await _shell.BlockmountAsync("create", "snapshot.vdi", "--parent", "base.vdi");
        await _shell.BlockmountAsync("info", "snapshot.vdi");
    }

    private async Task ServeAsync()
    {
        Console.WriteLine("\nServed over NBD, as a virtual machine or nbd-client would use it:");
        var socket = Path.Combine(folder, "demo.sock");
        await _shell.BlockmountAsync("serve", "--fork", "--pid-file", "demo.pid", "--socket", socket, "snapshot.vdi");
        try
        {
            await _shell.BlockmountAsync("list");
            if (await _shell.ToolAsync(show: true, "nbdinfo", "--size", $"nbd+unix:///?socket={socket}") is null)
            {
                Console.WriteLine("(nbdinfo is not installed; the package is libnbd-bin)");
            }
        }
        finally
        {
            await _shell.ToolAsync(show: false, "kill", (await File.ReadAllTextAsync(Path.Combine(folder, "demo.pid"), CancellationToken.None)).Trim());
            for (var i = 0; i < 100 && File.Exists(socket); i++)
            {
                await Task.Delay(100, CancellationToken.None);
            }
        }
    }

    private async Task<bool> ThroughMountAsync()
    {
        Directory.CreateDirectory(Mount);
        Console.WriteLine("\nMounted as a folder:");
        if (!await _shell.TryBlockmountAsync("mount", "snapshot.vdi", "mnt"))
        {
            return Skip("This user may not mount here (see blockmount doctor); the rest works all the same.");
        }

        try
        {
            await _shell.ToolAsync(show: true, "ls", "-lR", "mnt");
            var note = Path.Combine(Mount, "note.txt");
            if (File.Exists(Path.Combine(Mount, "disk.raw")))
            {
                return Skip("Only root may mount the file system itself; the disk is there as a file.");
            }

            Console.WriteLine("\n$ echo 'written through the snapshot' > mnt/note.txt");
            await File.WriteAllTextAsync(note, Written, cancellation);
        }
        finally
        {
            await _shell.BlockmountAsync("unmount", "mnt");
        }

        await _shell.BlockmountAsync("mount", "--read-only", "snapshot.vdi", "mnt");
        try
        {
            var back = await _shell.ToolAsync(show: true, "cat", "mnt/note.txt");
            Console.WriteLine(back == Written ? "it is there after mounting again" : "IT IS NOT THERE after mounting again");
            return back == Written;
        }
        finally
        {
            await _shell.BlockmountAsync("unmount", "mnt");
        }
    }

    private async Task<bool> CheckFileSystemAsync()
    {
        await _shell.BlockmountAsync("convert", "snapshot.vdi", "after.raw");
        return await _shell.ToolAsync(show: true, "e2fsck", "-fn", "after.raw") is not null;
    }

    private static bool Skip(string why)
    {
        Console.WriteLine($"({why})");
        return true;
    }

    private async Task<string> HashAsync(string name)
    {
        await using var file = File.OpenRead(Path.Combine(folder, name));
        return Convert.ToHexStringLower(await SHA256.HashDataAsync(file, cancellation));
    }
}
