using BlockMount.TestSupport;

namespace BlockMount.Host.Tests.Mounts;

/// <summary>Chains of each format by each road, and hosts that are killed, on a kernel that has every road.</summary>
public sealed class GuestMountTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task A_chain_of_each_format_is_mounted_by_each_road_and_listings_agree_with_the_kernel()
    {
        GuestFileSystemTests.RequireTools();
        await Peer.RunOkAsync("truncate", "-s", "16M", _folder["fs"]);
        await Peer.RunOkAsync("mkfs.ext4", "-q", _folder["fs"]);
        foreach (var format in new[] { "vdi", "vmdk", "vhd" })
        {
            await Blockmount.OkAsync("convert", _folder["fs"], _folder[$"base.{format}"]);
            await Blockmount.OkAsync("create", _folder[$"leaf.{format}"], "--parent", _folder[$"base.{format}"]);
        }

        var report = await GuestFileSystemTests.RunAsync(
            $$"""
            cd '{{_folder.Root}}'
            sha256sum base.* > /tmp/sum
            works() {
                mounted $1 leaf.$2
                echo "in $2" > $m/note
                "$BLOCKMOUNT" list --json > /tmp/list
                grep "\"mount\": \"$m\"" /tmp/list
                grep "\"$(findmnt -no SOURCE $m)\"" /tmp/list
                grep "\"image\": \"$PWD/leaf.$2\"" /tmp/list
                unmounted
            }
            check 'vdi by nbd' works nbd vdi
            check 'vmdk by loop' works loop vmdk
            check 'vhd by what comes up first' eval 'say mount leaf.vhd $m; grep "(by nbd)" /tmp/said; echo in vhd > $m/note; unmounted'
            check 'as files' eval 'mounted fuse leaf.vdi; cmp -n 1000 $m/disk.raw <(head -c 1000 /dev/zero); unmounted'
            read_back() { say mount --read-only --json leaf.$1 $m; grep "\"via\": \"nbd\"" /tmp/said; [ "$(cat $m/note)" = "in $1" ]; unmounted; }
            check 'vdi kept it' read_back vdi
            check 'the bases are as they were' sha256sum --quiet -c /tmp/sum
            ordinary() { rmmod nbd; say mount leaf.vmdk $m; [ "$(cat $m/note)" = 'in vmdk' ]; grep "(by $1)" /tmp/said; unmounted; }
            mv /lib/modules /tmp/none 2> /dev/null || mount -t tmpfs none /lib/modules
            check 'without the driver' ordinary loop
            without() { ! say mount --via nbd leaf.vmdk $m; grep -q nbd /tmp/said; gone; }
            check 'the driver is asked for and is not there' without
            """,
            ["--copy", _folder.Root]);
        report.AssertAllOk(
            "vdi by nbd", "vmdk by loop", "vhd by what comes up first", "as files", "vdi kept it", "the bases are as they were", "without the driver", "the driver is asked for and is not there");
    }

    [Fact]
    public async Task What_killed_hosts_leave_is_shown_and_taken_away_and_nothing_else()
    {
        GuestFileSystemTests.RequireTools();
        var report = await GuestFileSystemTests.RunAsync(
            """
            made 16M 1 mkfs.ext4 -q
            made 16M 2 mkfs.vfat
            disk_of disk.img 1 2
            cp disk.img other.img; cp 1 third.img
            mkdir other third
            killed() { mounted $1 disk.img; echo x > $m/p1/x; kill -9 $(pgrep -f "$m --background-child"); }
            check 'another one lives' eval 'say mount --via nbd third.img /tmp/third; echo before > third/x'
            check 'killed with loop devices' killed loop
            check 'doctor tells of loop devices' eval '"$BLOCKMOUNT" doctor > d; grep "loop device /dev/loop" d; grep "mount $m/p1, of /tmp/disk.img" d; grep "unmount --stale" d'
            check 'unmount takes them away' eval 'say unmount $m; grep "had been killed" /tmp/said; [ -z "$(ls -A $m)" ]; ! ls -d /sys/block/*/loop'
            check 'killed with an nbd device' killed nbd
            check 'a dry run changes nothing' eval 'say unmount --stale --dry-run; grep "left  nbd device /dev/nbd1, of blockmount\|left  nbd device /dev/nbd1, of /tmp/disk.img" /tmp/said; findmnt $m/p2; ls -d /sys/block/nbd1/pid'
            check 'stale takes it away' eval 'say unmount --stale --json; ! findmnt $m/p1; ! findmnt $m/p2; ! ls -d /sys/block/nbd1/pid; [ -z "$(ls -A $m)" ]; grep "\"removed\": true" /tmp/said; ! grep "\"removed\": false" /tmp/said'
            check 'the one that lives is untouched' eval 'echo after >> third/x; sync third/x; [ "$(cat third/x)" = "$(printf "before\nafter")" ]'
            check 'the disk opens again' eval 'mounted nbd disk.img; say unmount $m'
            check 'all that live go' eval 'say unmount --all; gone; [ -z "$(ls -A third)" ]'
            """);
        report.AssertAllOk(
            "another one lives", "killed with loop devices", "doctor tells of loop devices", "unmount takes them away", "killed with an nbd device", "a dry run changes nothing",
            "stale takes it away", "the one that lives is untouched", "the disk opens again", "all that live go");
    }
}
