using BlockMount.TestSupport;

namespace BlockMount.Host.Tests.Mounts;

/// <summary>Every file system that is mounted, by a kernel that has them all; one boot for many checks.</summary>
public sealed class GuestFileSystemTests
{
    [Fact]
    public async Task Each_file_system_is_mounted_read_only_and_for_writing_with_options_that_its_driver_takes()
    {
        RequireTools();
        var report = await RunAsync(
            """
            make() { truncate -s "$1" $2.img; shift 2; "$@" > /dev/null 2>&1; }
            make 16M ext4 mkfs.ext4 -q ext4.img
            make 16M ext2 mkfs.ext2 -q ext2.img
            make 300M xfs mkfs.xfs -q xfs.img
            make 16M vfat mkfs.vfat vfat.img
            make 16M exfat mkfs.exfat exfat.img
            make 16M ntfs mkfs.ntfs -FqQ ntfs.img
            make 128M btrfs mkfs.btrfs -q btrfs.img
            make 64M f2fs mkfs.f2fs -q f2fs.img
            make 16M udf mkudffs udf.img
            mkdir content; echo inside > content/file
            mksquashfs content squashfs.img -quiet -no-progress > /dev/null
            genisoimage -quiet -J -R -o iso9660.img content 2> /dev/null

            check 'ext4 for writing' tried loop ext4 rw ext4.img
            check 'ext4 read-only' tried nbd ext4 ro ext4.img --read-only
            check 'ext2 for writing' tried nbd ext2 rw ext2.img
            check 'xfs for writing' tried nbd xfs rw xfs.img
            check 'xfs read-only' tried loop xfs ro xfs.img --read-only
            check 'vfat for writing' tried loop vfat rw vfat.img
            check 'exfat for writing' tried nbd exfat rw exfat.img
            check 'exfat read-only' tried loop exfat ro exfat.img --read-only
            check 'ntfs3 for writing' tried nbd ntfs3 rw ntfs.img
            check 'ntfs3 read-only' tried loop ntfs3 ro ntfs.img --read-only
            check 'btrfs for writing' tried loop btrfs rw btrfs.img
            check 'btrfs read-only' tried nbd btrfs ro btrfs.img --read-only
            check 'f2fs for writing' tried nbd f2fs rw f2fs.img
            check 'f2fs read-only' tried loop f2fs ro f2fs.img --read-only
            check 'udf for writing' tried nbd udf rw udf.img
            check 'squashfs takes no writes' tried loop squashfs ro squashfs.img
            check 'iso9660 takes no writes' tried nbd iso9660 ro iso9660.img

            owned() {
                SUDO_UID=1234 SUDO_GID=55 say mount --options umask=027,noatime vfat.img $m
                [ "$(stat -c '%u %g %a' $m)" = '1234 55 750' ]
                findmnt -no OPTIONS $m | grep -q noatime
                say unmount $m
                gone
            }
            check 'who called sudo owns what FAT holds' owned
            refused() { ! say mount --options "$1" vfat.img $m; grep -q "$2" /tmp/said; gone; }
            check 'an unsafe option' refused suid 'not trusted'
            check 'an unknown option' refused nobh 'not known for vfat'
            """);
        report.AssertAllOk(
            "ext4 for writing", "ext4 read-only", "ext2 for writing", "xfs for writing", "xfs read-only", "vfat for writing", "exfat for writing", "exfat read-only",
            "ntfs3 for writing", "ntfs3 read-only", "btrfs for writing", "btrfs read-only", "f2fs for writing", "f2fs read-only", "udf for writing",
            "squashfs takes no writes", "iso9660 takes no writes", "who called sudo owns what FAT holds", "an unsafe option", "an unknown option");
    }

    [Fact]
    public async Task What_was_not_unmounted_is_mounted_read_only_as_it_is_and_in_an_overlay_with_its_journal_replayed()
    {
        RequireTools();
        var report = await RunAsync(
            """
            # A copy of a mounted file system is what a power cut leaves.
            dirty() {
                local type=$1 size=$2
                shift 2
                truncate -s $size live.img; "$@" live.img > /dev/null 2>&1
                mkdir -p live; mount -t $type -o loop live.img live
                echo old > live/old; sync; sleep 1
                echo new > live/new; sync live/new
                cp --sparse=always live.img $type.img
                umount live; rm live.img
            }
            dirty ext4 16M mkfs.ext4 -q
            dirty xfs 300M mkfs.xfs -q
            dirty ntfs3 16M mkfs.ntfs -FqQ
            refused_by_mount() { ! mount -t $1 -o loop,ro${2-} $1.img $m; }
            check 'plain mount wants to write to ext4' eval 'l=$(losetup -rf --show ext4.img); ! mount -t ext4 -o ro $l $m; losetup -d $l'
            check 'plain mount wants to write to xfs' eval 'l=$(losetup -rf --show xfs.img); ! mount -t xfs -o ro,nouuid $l $m; losetup -d $l'

            check 'ext4 by nbd' tried nbd ext4 ro ext4.img --read-only
            check 'ext4 by loop' tried loop ext4 ro ext4.img --read-only
            check 'xfs by nbd' tried nbd xfs ro xfs.img --read-only
            check 'xfs by loop' tried loop xfs ro xfs.img --read-only
            check 'ext4 in an overlay' tried nbd ext4 rw ext4.img --overlay temp
            check 'xfs in an overlay' tried loop xfs rw xfs.img --overlay temp
            replayed() {
                say mount --overlay temp --via nbd $1.img $m
                [ "$(cat $m/new)" = new ]
                say unmount $m
            }
            check 'the journal of ext4 is replayed in the overlay' replayed ext4
            check 'the journal of xfs is replayed in the overlay' replayed xfs
            check 'ntfs read-only' tried loop ntfs3 ro ntfs3.img --read-only
            ntfs() { ! say mount ntfs3.img $m; grep -q 'shut down that Windows' /tmp/said; gone; }
            check 'ntfs for writing tells what to do' ntfs
            """);
        report.AssertAllOk(
            "plain mount wants to write to ext4", "plain mount wants to write to xfs", "ext4 by nbd", "ext4 by loop", "xfs by nbd", "xfs by loop",
            "ext4 in an overlay", "xfs in an overlay", "the journal of ext4 is replayed in the overlay", "the journal of xfs is replayed in the overlay",
            "ntfs read-only", "ntfs for writing tells what to do");
    }

    internal static Task<GuestReport> RunAsync(string script, params string[] options) => Guest.RunAsync(
        $". '{Guest.Folder}/mounts.sh'\n{script}", 420, ["--env", $"BLOCKMOUNT={Blockmount.Program}", .. options]);

    internal static void RequireTools()
    {
        Guest.Require();
        foreach (var (tool, package) in new[]
        {
            ("mkfs.ext4", "e2fsprogs"), ("mkfs.xfs", "xfsprogs"), ("mkfs.vfat", "dosfstools"), ("mkfs.exfat", "exfatprogs"), ("mkfs.ntfs", "ntfs-3g"),
            ("mkfs.btrfs", "btrfs-progs"), ("mkfs.f2fs", "f2fs-tools"), ("mkudffs", "udftools"), ("mksquashfs", "squashfs-tools"), ("genisoimage", "genisoimage"),
            ("sfdisk", "fdisk"), ("findmnt", "util-linux"), ("losetup", "mount"),
        })
        {
            Peer.Require(tool, package);
        }
    }
}
