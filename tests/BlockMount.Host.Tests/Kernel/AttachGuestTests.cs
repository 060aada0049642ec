using BlockMount.TestSupport;

namespace BlockMount.Host.Tests.Kernel;

/// <summary>Disks as /dev/nbdN, in a guest whose kernel has the driver.</summary>
public sealed class AttachGuestTests
{
    [Fact]
    public async Task A_chain_is_a_device_with_partitions_that_take_file_systems_and_is_clean_when_detached()
    {
        var report = await RunAsync(
            """
            say create base.vdi --size 1G > /dev/null; say create leaf.vdi --parent base.vdi > /dev/null
            attached() {
                say attach --connections 4 leaf.vdi
                [ "$(cat /tmp/said)" = /dev/nbd0 ]
                [ "$(cat /sys/block/nbd0/backend)" = blockmount:rw:/tmp/leaf.vdi ]
                [ "$(cat /sys/block/nbd0/size)" = 2097152 ]
                say list --json; grep -q '"/dev/nbd0"' /tmp/said
                printf 'label: gpt\nsize=100M\nsize=320M\nsize=50M\nsize=50M\n' | sfdisk -q /dev/nbd0
            }
            check 'attached and divided' attached
            made() {
                local kind=$1 node=$2; shift 2
                "$@" $node > /dev/null
                mount -t $kind $node m
                mkdir m/tree; cp -r /etc/default /etc/apt m/tree/
                sync -f m
                (cd m/tree; find . -type f | sort | xargs sha256sum) > $kind.sums
                if [ $kind = ext4 ]; then ! say detach leaf; grep 'nbd0p1 is mounted on /tmp/m' /tmp/said; fi
                umount m
            }
            check 'ext4 is made, and mounted it is not detached' made ext4 /dev/nbd0p1 mkfs.ext4 -q
            check 'xfs is made' made xfs /dev/nbd0p2 mkfs.xfs -q
            check 'vfat is made' made vfat /dev/nbd0p3 mkfs.vfat
            check 'ntfs is made' made ntfs3 /dev/nbd0p4 mkfs.ntfs -qQ
            detached() { say detach /dev/nbd0; gone; }
            check 'detached' detached

            again() {
                say attach --read-only --json leaf.vdi; grep -q '"/dev/nbd0p4"' /tmp/said
                e2fsck -fn /dev/nbd0p1
                xfs_repair -n /dev/nbd0p2
                fsck.vfat -n /dev/nbd0p3
                for kind in ext4:1:noload xfs:2:norecovery vfat:3:ro ntfs3:4:ro; do
                    IFS=: read -r type number options <<< $kind
                    mount -t $type -o ro,$options /dev/nbd0p$number m
                    (cd m/tree; sha256sum --quiet -c /tmp/$type.sums)
                    umount m
                done
            }
            check 'all of it is there and clean' again
            refused() {
                ! dd if=/dev/zero of=/dev/nbd0 bs=4096 count=1 oflag=direct
                [ "$(cat /sys/block/nbd0/ro)" = 1 ]
                say attach --read-only --block-size 4096 leaf.vdi
                [ "$(cat /tmp/said)" = /dev/nbd1 ]
                [ "$(cat /sys/block/nbd1/queue/logical_block_size)" = 4096 ]
                [ "$(blockdev --getsize64 /dev/nbd1p3)" = 52428800 ]
                cmp /dev/nbd0p3 /dev/nbd1p3
                ! say detach nobody; ! say attach --device /dev/nbd1 --read-only leaf.vdi; grep 'in use' /tmp/said
                say detach /dev/nbd1; say detach leaf; gone
            }
            check 'read-only it refuses writes, and its table is seen with sectors of another size' refused

            holes() {
                say attach leaf.vdi
                dd if=/dev/urandom of=/dev/nbd0 bs=1M seek=600 count=8 oflag=direct 2> /dev/null
                sync; "$BLOCKMOUNT" status leaf > /dev/null
                blkdiscard -f -o $((600 << 20)) -l $((4 << 20)) /dev/nbd0
                fallocate -p -o $((604 << 20)) -l $((4 << 20)) /dev/nbd0
                cmp -n $((8 << 20)) /dev/nbd0 /dev/zero -i $((600 << 20)):0
                # This one asks that the space be kept.
                dd if=/dev/urandom of=/dev/nbd0 bs=1M seek=608 count=4 oflag=direct 2> /dev/null
                blkdiscard -fz -o $((608 << 20)) -l $((4 << 20)) /dev/nbd0
                cmp -n $((4 << 20)) /dev/nbd0 /dev/zero -i $((608 << 20)):0
                say status leaf
                say detach leaf
                "$BLOCKMOUNT" map --json leaf.vdi > map
                python3 - <<P
            import json
            for e in json.load(open('map')):
                if e['start'] < 608 << 20 and e['start'] + e['length'] > 600 << 20:
                    assert e['zero'] and not e['data'], e
                if e['start'] < 612 << 20 and e['start'] + e['length'] > 608 << 20:
                    assert e['data'], e
            P
            }
            check 'discarding and zeroing leave holes' holes
            verified() {
                say attach --connections 4 leaf.vdi
                fio --name=v --filename=/dev/nbd0 --rw=randwrite --bs=4k-64k --size=48m --offset=700m --direct=1 --ioengine=libaio --iodepth=16 --numjobs=1 --verify=crc32c --verify_fatal=1 --fsync=64
                say detach leaf
                "$BLOCKMOUNT" check --read leaf.vdi
                gone
            }
            check 'fio verifies' verified
            served() {
                "$BLOCKMOUNT" serve --socket /tmp/s disk=leaf.vdi > serve.log 2>&1 & local server=$!
                while ! grep -qx ready serve.log; do kill -0 $server; sleep 0.2; done
                say export attach disk
                [ "$(cat /tmp/said)" = /dev/nbd0 ]
                ls /dev/nbd0p4
                dd if=/dev/urandom of=/tmp/noise bs=1M count=2 2> /dev/null
                dd if=/tmp/noise of=/dev/nbd0 bs=1M seek=800 conv=fsync 2> /dev/null
                nbdcopy 'nbd+unix:///disk?socket=/tmp/s' /tmp/copy
                cmp -n 2097152 -i 838860800:0 /tmp/copy /tmp/noise
                rm /tmp/copy
                sleep 600 < /dev/nbd0 & local user=$!
                ! say export remove disk; grep 'attached as /dev/nbd0; detach that first' /tmp/said
                ! say detach /dev/nbd0; grep "nbd0 is in use by sleep" /tmp/said
                kill $user; wait $user || true
                say attach --read-only --name disk base.vdi
                ! say detach disk; grep '/dev/nbd0 and another device have that name' /tmp/said
                say detach /dev/nbd1; say detach disk
                say export attach disk --connections 1 > /dev/null
                kill -TERM $server; wait $server
                gone
            }
            check 'an export of a server is a device as well' served
            """,
            900);
        report.AssertAllOk(
            "attached and divided", "ext4 is made, and mounted it is not detached", "xfs is made", "vfat is made", "ntfs is made", "detached", "all of it is there and clean",
            "read-only it refuses writes, and its table is seen with sectors of another size", "discarding and zeroing leave holes", "fio verifies",
            "an export of a server is a device as well");
    }

    [Fact]
    public async Task Killed_under_load_a_host_is_followed_by_another_and_no_request_fails()
    {
        var report = await RunAsync(
            """
            say create base.vdi --size 256M > /dev/null; say create leaf.vdi --parent base.vdi > /dev/null
            survives() {
                local load
                say attach --timeout 4 leaf.vdi
                # Again and again, until the hosts have changed often enough.
                while [ ! -e enough ]; do
                    fio --name=v --filename=/dev/nbd0 --rw=randrw --bs=4k-64k --size=48m --io_size=20m --direct=1 --ioengine=libaio --iodepth=8 --randrepeat=0 \
                        --verify=crc32c --verify_fatal=1 --verify_backlog=256 --fsync=200 > fio.log 2>&1 || { touch failed; break; }
                done &
                load=$!
                # After a snapshot the disk is in another image than the one that was named.
                for leaf in leaf new; do
                    sleep 3
                    [ $leaf = leaf ] || say snapshot leaf --path /tmp/new.vdi
                    sleep 1
                    killed
                    say attach --recover leaf
                    grep 'taken over' /tmp/said
                done
                sleep 2
                say attach --recover /dev/nbd0; grep -x /dev/nbd0 /tmp/said
                touch enough
                wait $load
                [ ! -e failed ] || { cat fio.log; return 1; }
                say status leaf
                grep /tmp/new.vdi /tmp/said
                say detach leaf
                "$BLOCKMOUNT" check --read new.vdi
                rm new.vdi
                gone
            }
            check 'killed and handed over' survives
            stopped() {
                say attach --timeout 2 --reconnect-time 30 leaf.vdi
                killed
                say list; grep '/dev/nbd0: its process was killed, and requests wait for another one' /tmp/said
                ! say detach leaf; grep 'attach --recover' /tmp/said
                ! timeout 90 dd if=/dev/nbd0 of=/dev/null bs=4096 count=1 iflag=direct
                say detach --force leaf
                gone
                say attach leaf.vdi; dd if=/dev/nbd0 of=/dev/null bs=4096 count=1 iflag=direct; say detach leaf
                gone
            }
            check 'stopped for good' stopped
            """,
            900);
        report.AssertAllOk("killed and handed over", "stopped for good");
    }

    [Fact]
    public async Task With_no_memory_left_a_mounted_device_is_still_written_to()
    {
        using var folder = new TempFolder();
        var report = await RunAsync(
            $$"""
            cd '{{folder.Root}}'
            "$BLOCKMOUNT" create disk.vdi --size 1G
            squeezed() {
                local hog
                say attach disk.vdi
                mkfs.ext4 -q /dev/nbd0
                mount /dev/nbd0 /tmp/m
                grep -q '^VmLck:.*[1-9]' /proc/$(host)/status
                [ "$(cat /proc/$(host)/oom_score_adj)" = -1000 ]
                # All but some pages of what is free is taken, again and again when the kernel ends the program that does.
                cat > /tmp/hog.py <<'P'
            import mmap, time
            open("/proc/self/oom_score_adj", "w").write("1000")
            free = next(int(l.split()[1]) for l in open("/proc/meminfo") if l.startswith("MemAvailable")) * 1024
            size = (free - (28 << 20)) // 4096 * 4096
            m = mmap.mmap(-1, size)
            for i in range(0, size, 4096): m[i] = 1
            open("/tmp/taken", "a").write("x")
            while True:
                for i in range(0, size, 4096): m[i] = 2
                time.sleep(0.2)
            P
                (while [ ! -e /tmp/enough ]; do python3 /tmp/hog.py || true; sleep 1; done) & hog=$!
                while [ ! -e /tmp/taken ]; do sleep 0.2; done
                timeout 180 dd if=/dev/zero of=/tmp/m/file bs=64k count=3000 conv=fsync
                touch /tmp/enough; pkill -9 -f hog.py || true
                echo "memory was taken $(wc -c < /tmp/taken) times"
                cmp -n 196608000 /tmp/m/file /dev/zero
                umount /tmp/m
                e2fsck -fn /dev/nbd0
                say detach disk
                gone
            }
            check 'squeezed' squeezed
            """,
            400,
            ["--mem", "512M", "--share", folder.Root]);
        report.AssertAllOk("squeezed");
    }

    private static Task<GuestReport> RunAsync(string script, int seconds, params string[] options)
    {
        foreach (var (program, package) in new[] { ("fio", "fio"), ("mkfs.xfs", "xfsprogs"), ("mkfs.vfat", "dosfstools"), ("mkfs.ntfs", "ntfs-3g"), ("sfdisk", "fdisk") })
        {
            Peer.Require(program, package);
        }

        return Guest.RunAsync(
            $"BLOCKMOUNT='{Blockmount.GuestProgram}'\n. '{Guest.Folder}/attach.sh'\n{script}", seconds, options);
    }
}
