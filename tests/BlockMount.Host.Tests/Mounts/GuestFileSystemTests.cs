using BlockMount.TestSupport;

namespace BlockMount.Host.Tests.Mounts;

/// <summary>Every file system that is mounted, by a kernel that has them all; one boot for many checks.</summary>
public sealed class GuestFileSystemTests
{
    [Fact]
    public async Task Each_file_system_is_mounted_for_writing_and_read_only_with_options_that_its_driver_takes()
    {
        RequireTools();
        var report = await RunAsync(
            """
            made 16M 1 mkfs.ext4 -q
            made 16M 2 mkfs.ext2 -q
            made 300M 3 mkfs.xfs -q
            made 16M 4 mkfs.vfat
            made 16M 5 mkfs.exfat
            made 16M 6 mkfs.ntfs -FqQ
            made 128M 7 mkfs.btrfs -q
            made 64M 8 mkfs.f2fs -q
            made 16M 9 mkudffs
            mkdir content; echo inside > content/file
            mksquashfs content 10 -quiet -no-progress > /dev/null
            genisoimage -quiet -J -R -o 11 content 2> /dev/null
            types=(ext4 ext2 xfs vfat exfat ntfs3 btrfs f2fs udf squashfs iso9660)
            disk_of disk.img {1..11}

            export SUDO_UID=1234 SUDO_GID=55
            check 'mounted by nbd' mounted nbd disk.img
            check 'what takes no writes is said' grep -q 'The squashfs file system of partition 10 takes no writes' /tmp/said
            for i in {1..9}; do check "${types[i - 1]} for writing" part p$i ${types[i - 1]} rw; done
            owned() { for i in 4 5 6; do [ "$(stat -c '%u %g' $m/p$i)" = '1234 55' ]; done; }
            check 'who called sudo owns what keeps no owners' owned
            check 'the kernel knows the image' grep -qx "blockmount:rw:/tmp/disk.img" /sys/block/nbd0/backend
            check 'unmounted by nbd' unmounted
            sha256sum disk.img > sum
            check 'mounted by loop' mounted loop disk.img --read-only
            for i in {1..11}; do check "${types[i - 1]} read-only" part p$i ${types[i - 1]} ro; done
            check 'the kernel knows the file' grep -q '^/run/blockmount/[0-9]*.files/p1.raw' "/sys/block/$(basename "$(findmnt -no SOURCE $m/p1)")/loop/backing_file"
            check 'unmounted by loop' unmounted
            check 'nothing was written' sha256sum --quiet -c sum
            refused() { ! say mount --partition 4 --options $1 disk.img $m; grep -q "$2" /tmp/said; gone; }
            check 'an unsafe option is refused' refused noatime,suid 'not trusted'
            """);
        string[] writable = ["ext4", "ext2", "xfs", "vfat", "exfat", "ntfs3", "btrfs", "f2fs", "udf"];
        report.AssertAllOk([
            "mounted by nbd", "what takes no writes is said", .. writable.Select(t => $"{t} for writing"), "who called sudo owns what keeps no owners", "the kernel knows the image", "unmounted by nbd",
            "mounted by loop", .. writable.Select(t => $"{t} read-only"), "squashfs read-only", "iso9660 read-only", "the kernel knows the file", "unmounted by loop", "nothing was written",
            "an unsafe option is refused"]);
    }

    [Fact]
    public async Task What_was_not_unmounted_is_mounted_read_only_as_it_is_and_in_an_overlay_with_its_journal_replayed()
    {
        RequireTools();
        var report = await RunAsync(
            """
            # A copy of a mounted file system is what a power cut leaves.
            dirty() {
                local file=$1 type=$2 size=$3
                shift 3
                made $size live "$@"
                mkdir -p on; mount -t $type -o loop live on
                echo "written to $type" > on/note; sync; sleep 1; [ $type = ntfs3 ] || { fsfreeze --freeze on; fsfreeze --unfreeze on; }
                echo new > on/new; sync on/new
                cp --sparse=always live $file
                umount on; rm live
            }
            dirty 1 ext4 16M mkfs.ext4 -q
            dirty 2 xfs 300M mkfs.xfs -q
            dirty 3 ntfs3 16M mkfs.ntfs -FqQ

            # What Windows sets while it uses a volume: bit 0 of the flags in the attribute 0x70 of the fourth file record.
            python3 - 3 <<'MARK'
            import struct, sys
            with open(sys.argv[1], 'r+b') as f:
                boot = f.read(512)
                record = struct.unpack_from('<Q', boot, 48)[0] * struct.unpack_from('<H', boot, 11)[0] * boot[13] + 3 * 1024
                f.seek(record); data = f.read(1024)
                at = struct.unpack_from('<H', data, 20)[0]
                while struct.unpack_from('<I', data, at)[0] != 0x70:
                    at += struct.unpack_from('<I', data, at + 4)[0]
                flags = at + struct.unpack_from('<H', data, at + 20)[0] + 10
                f.seek(record + flags); f.write(bytes([data[flags] | 1]))
            MARK
            plain() { loop=$(losetup -rf --show $1); ! mount -t $2 -o $3 $loop $m; losetup -d $loop; }
            check 'plain mount wants to write to ext4' plain 1 ext4 ro
            check 'plain mount wants to write to xfs' plain 2 xfs ro,nouuid
            check 'the volume of ntfs is marked' eval '! mount -t ntfs3 -o loop 3 $m || { umount $m; false; }'
            disk_of disk.img 1 2 3
            sha256sum disk.img > sum
            for via in nbd loop; do
                check "mounted by $via" mounted $via disk.img --read-only
                check "ext4 by $via" part p1 ext4 ro
                check "xfs by $via" part p2 xfs ro
                check "ntfs by $via" part p3 ntfs3 ro
                check "unmounted by $via" unmounted
            done
            disk_of pair.img 1 2
            check 'mounted in an overlay' mounted nbd --overlay temp pair.img
            check 'ext4 in an overlay' part p1 ext4 rw
            check 'xfs in an overlay' part p2 xfs rw
            replayed() { [ "$(cat $m/p1/new $m/p2/new | tr -d '\n')" = newnew ]; }
            check 'the journals are replayed there' replayed
            check 'the kernel knows of the overlay' grep -qx 'blockmount:overlay:/tmp/pair.img' /sys/block/nbd0/backend
            check 'unmounted in an overlay' unmounted
            check 'nothing was written' sha256sum --quiet -c sum
            ntfs() { ! say mount --partition 3 disk.img $m; grep -q 'shut down that Windows' /tmp/said; gone; }
            check 'ntfs for writing tells what to do' ntfs
            """);
        report.AssertAllOk([
            "plain mount wants to write to ext4", "plain mount wants to write to xfs", "the volume of ntfs is marked",
            .. new[] { "nbd", "loop" }.SelectMany(via => new[] { "mounted by", "ext4 by", "xfs by", "ntfs by", "unmounted by" }.Select(what => $"{what} {via}")),
            "mounted in an overlay", "ext4 in an overlay", "xfs in an overlay", "the journals are replayed there", "the kernel knows of the overlay", "unmounted in an overlay",
            "nothing was written", "ntfs for writing tells what to do"]);
    }

    internal static Task<GuestReport> RunAsync(string script, params string[] options) => Guest.RunAsync(
        $". '{Guest.Folder}/mounts.sh'\n{script}", 900, ["--env", $"BLOCKMOUNT={Blockmount.GuestProgram}", .. options]);

    internal static void RequireTools()
    {
        Guest.Require();
        foreach (var (tool, package) in new[]
        {
            ("mkfs.ext4", "e2fsprogs"), ("mkfs.xfs", "xfsprogs"), ("mkfs.vfat", "dosfstools"), ("mkfs.exfat", "exfatprogs"), ("mkfs.ntfs", "ntfs-3g"),
            ("mkfs.btrfs", "btrfs-progs"), ("mkfs.f2fs", "f2fs-tools"), ("mkudffs", "udftools"), ("mksquashfs", "squashfs-tools"), ("genisoimage", "genisoimage"),
            ("sfdisk", "fdisk"), ("findmnt", "util-linux"), ("fsfreeze", "util-linux"), ("python3", "python3"), ("losetup", "mount"),
        })
        {
            Peer.Require(tool, package);
        }
    }
}
