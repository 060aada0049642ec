# For scripts that run in the guest and mount images; sourced behind checks.sh. BLOCKMOUNT is the program, which takes seconds to start there.
m=/tmp/m
mkdir -p $m
cd /tmp || exit
modprobe -a nbd loop ntfs3

# say ARG…: runs the program; what it prints is in /tmp/said as well.
say() {
    local status=0
    "$BLOCKMOUNT" "$@" > /tmp/said 2>&1 || status=$?
    cat /tmp/said
    return $status
}

# made SIZE FILE COMMAND…: a file of that size with a file system that COMMAND FILE makes.
made() {
    local file=$2
    truncate -s "$1" "$file"
    shift 2
    "$@" "$file" > /dev/null 2>&1
}

# disk_of DISK FILE…: a disk with a GPT whose partitions hold what these files do, 1 MiB apart.
disk_of() {
    local disk=$1 start=1 file size table=$'label: gpt\n'
    shift
    for file in "$@"; do
        size=$(( ($(stat -c %s "$file") + 1048575) / 1048576 ))
        table+="start=${start}MiB, size=${size}MiB"$'\n'
        dd if="$file" of="$disk" bs=1M seek=$start conv=sparse,notrunc status=none
        start=$((start + size))
    done
    truncate -s $((start + 1))M "$disk"
    sfdisk --quiet "$disk" <<< "$table"
}

# part FOLDER TYPE ACCESS: the kernel has such a file system there, and it can be used so.
part() {
    local folder=$m/$1 options
    [ "$(findmnt -no FSTYPE "$folder")" = "$2" ]
    options=$(findmnt -no OPTIONS "$folder")
    echo "$options"
    [[ $options == "$3",*nosuid* ]]
    if [ "$3" = rw ]; then
        echo "written to $2" > "$folder/note"
        sync -f "$folder/note"
    else
        grep -rq "written to $2\|inside" "$folder" --include note --include file
        ! touch "$folder/other"
    fi
}

# gone: nothing of this program is mounted, attached or recorded any more.
gone() {
    ! findmnt -rno TARGET | grep -x "$m\(/.*\)\?"
    ! grep fuse.blockmount /proc/mounts
    ! ls -d /sys/block/*/loop 2> /dev/null
    ! ls -d /sys/block/nbd*/pid 2> /dev/null
    [ -z "$(ls -A $m)" ]
    [ -z "$(ls -A /run/blockmount)" ]
}

unmounted() {
    say unmount $m
    gone
}

# mounted VIA ARG…: by that road.
mounted() {
    local via=$1
    shift
    say mount --via "$via" "$@" $m
    grep -q "(by $via)" /tmp/said
}
