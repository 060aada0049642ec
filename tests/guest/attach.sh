# For scripts that run in the guest and attach images; sourced behind checks.sh. BLOCKMOUNT is the program.
run=/run/blockmount
mkdir -p /tmp/m
cd /tmp || exit
modprobe -a nbd ext4 xfs vfat ntfs3

# say ARG…: runs the program; what it prints is in /tmp/said as well.
say() { "$BLOCKMOUNT" "$@" > /tmp/said 2>&1 || { local status=$?; cat /tmp/said; return $status; }; cat /tmp/said; }

# host: process of the only host.
host() { sed -n 's/.*"pid": \([0-9]*\).*/\1/p' $run/*.attached; }

# gone: no device, node or file of this program is there any more.
gone() {
    ! ls -d /sys/block/nbd*/pid 2> /dev/null
    ! ls /dev/nbd*p* 2> /dev/null
    [ -z "$(ls -A $run)" ]
}

# killed: its host is killed, and has ended.
killed() {
    local process
    process=$(host)
    kill -9 "$process"
    while [ -e /proc/"$process"/fd ] && ls /proc/"$process"/fd > /dev/null 2>&1 && grep -q 'State:.[^Z]' /proc/"$process"/status; do sleep 0.1; done
}
