# For scripts that run in the guest and mount images; sourced behind checks.sh. BLOCKMOUNT is the program.
m=/tmp/m
mkdir -p $m
cd /tmp || exit
modprobe -a nbd loop ntfs3

# say ARG…: runs the program; what it prints is in /tmp/said as well.
say() { "$BLOCKMOUNT" "$@" > /tmp/said 2>&1 || { local status=$?; cat /tmp/said; return $status; }; cat /tmp/said; }

# gone: nothing of this program is mounted, attached or recorded any more.
gone() {
    ! findmnt -rno TARGET | grep -x "$m\(/.*\)\?"
    ! grep fuse.blockmount /proc/mounts
    ! ls -d /sys/block/*/loop 2> /dev/null
    ! ls -d /sys/block/nbd*/pid 2> /dev/null
    [ -z "$(ls -A $m)" ]
    [ -z "$(ls -A /run/blockmount)" ]
}

# host_pid: process of the only host.
host_pid() { "$BLOCKMOUNT" list --json | sed -n 's/.*"pid": \([0-9]*\).*/\1/p' | head -1; }

# tried VIA TYPE ACCESS IMAGE [OPTION]…: mounts, looks whether the kernel says the same, uses it, unmounts, and looks whether all is gone.
tried() {
    local via=$1 type=$2 access=$3 image=$4 source
    shift 4
    local before
    before=$(sha256sum < "$image")
    say mount --via "$via" "$@" "$image" $m
    grep -q "(by $via)" /tmp/said
    [ "$(findmnt -no FSTYPE $m)" = "$type" ]
    findmnt -no OPTIONS $m
    findmnt -no OPTIONS $m | grep -q "^$access,"
    findmnt -no OPTIONS $m | grep -q nosuid
    source=$(findmnt -no SOURCE $m)
    case $via in
        nbd) [[ $source == /dev/nbd* ]]; grep -q "blockmount:.*$image" /sys/block/nbd0/backend ;;
        loop) grep -q '/run/blockmount/[0-9]*.files/' "/sys/block/${source#/dev/}/loop/backing_file" ;;
    esac
    if [ "$access" = rw ]; then
        echo written > $m/note
        sync -f $m/note
    else
        ! touch $m/note 2> /dev/null
    fi
    say unmount $m
    gone
    case "$access $*" in
        ro*|*--overlay*) [ "$before" = "$(sha256sum < "$image")" ] ;;
        *) [ "$before" != "$(sha256sum < "$image")" ] ;;
    esac
}
