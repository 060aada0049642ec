using System.Diagnostics;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests.Peers;

/// <summary>A file system made and checked through nbdfuse: a client whose requests come from the kernel.</summary>
public sealed class NbdfuseTests : PeerTest
{
    public NbdfuseTests(PeerDisks disks)
        : base(disks)
    {
        Peer.RequireFuse();
        Peer.Require("nbdfuse", "libnbd-bin");
        Peer.Require("mkfs.ext4", "e2fsprogs");
        Peer.Require("e2fsck", "e2fsprogs");
        Peer.Require("debugfs", "e2fsprogs");
    }

    [Theory]
    [MemberData(nameof(PeerDisks.Writable), MemberType = typeof(PeerDisks))]
    public async Task A_file_system_made_through_nbdfuse_is_whole_there_and_in_the_image_afterwards(string kind)
    {
        await using var server = await ServeAsync(kind);
        var mount = Directory.CreateDirectory(Folder["mnt"]).FullName;
        var disk = Path.Combine(mount, "disk.raw");
        var file = new byte[3 << 20];
        new Random(8).NextBytes(file);
        await File.WriteAllBytesAsync(Folder["file"], file);
        using (var nbdfuse = Process.Start(new ProcessStartInfo("/usr/bin/nbdfuse", [disk, server.Uri]))!)
        {
            try
            {
                var deadline = DateTime.UtcNow.AddSeconds(20);
                while (!File.Exists(disk))
                {
                    Assert.True(DateTime.UtcNow < deadline && !nbdfuse.HasExited, "nbdfuse does not show the disk");
                    await Task.Delay(20);
                }

                AssertSame(Disks.Content, await File.ReadAllBytesAsync(disk));
                await Peer.RunOkAsync("mkfs.ext4", "-q", "-F", disk);
                await Peer.RunOkAsync("debugfs", "-w", "-R", $"write {Folder["file"]} file", disk);
                await Peer.RunOkAsync("e2fsck", "-fn", disk);
            }
            finally
            {
                await Peer.RunAsync("fusermount3", ["-u", mount]);
                await nbdfuse.WaitForExitAsync(new CancellationTokenSource(TimeSpan.FromSeconds(20)).Token);
            }
        }

        await StopAsync(server);
        await File.WriteAllBytesAsync(Folder["after.raw"], await ContentAsync());
        await Peer.RunOkAsync("e2fsck", "-fn", Folder["after.raw"]);
        await Peer.RunOkAsync("debugfs", "-R", $"dump file {Folder["back"]}", Folder["after.raw"]);
        AssertSame(file, await File.ReadAllBytesAsync(Folder["back"]));
    }
}
