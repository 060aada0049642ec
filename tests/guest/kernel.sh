# Shared by tests/guest/boot and tests/guest/run; sourced, not run. The caller has die().
export PATH=$PATH:/usr/sbin:/sbin

# need TOOL...: ends the program when one is missing.
need() {
    local tool
    for tool in "$@"; do
        command -v "$tool" > /dev/null || die "$tool is missing"
    done
}

# fetch_kernel NAME...: unpacks Debian's package of the first kernel of these that apt knows, once, in ~/.cache/blockmount-tests.
# Sets kernel (the image to boot), kernel_files (the folder under which lib/modules is) and kernel_release.
fetch_kernel() {
    local name package='' lock cache
    for name in "$@"; do
        # The package of that name only depends on the real one, whose name has the version in it.
        package=$(apt-cache depends "$name" 2> /dev/null | awk '$2 ~ /^linux-image-[0-9]/ { print $2; exit }') || true
        [ -z "$package" ] || break
    done
    [ -n "$package" ] || die "apt knows no package $*"
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/blockmount-tests/$package
    mkdir -p "$cache"
    exec {lock}> "$cache/lock"
    flock $lock
    if [ ! -e "$cache/ready" ]; then
        rm -rf "${cache:?}"/{deb,files}
        mkdir -p "$cache"/{deb,files}
        (cd "$cache/deb" && apt-get download -qq "$package" > /dev/null 2>&1) || die "the package $package could not be fetched"
        dpkg-deb -x "$cache"/deb/*.deb "$cache/files"
        mv "$cache"/files/boot/vmlinuz-* "$cache/vmlinuz"
        depmod -b "$cache/files" "$(ls "$cache/files/lib/modules")"
        rm -r "$cache/deb"
        touch "$cache/ready"
    fi
    exec {lock}>&-
    kernel=$cache/vmlinuz kernel_files=$cache/files kernel_release=$(ls "$cache/files/lib/modules")
}

# put_modules FOLDER NAME...: these modules and what they need, unpacked and numbered in the order in which they load.
put_modules() {
    local folder=$1 name file order=100
    shift
    mkdir -p "$folder"
    for name in "$@"; do
        modprobe -d "$kernel_files" -S "$kernel_release" --show-depends "$name"
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r file; do
        case $file in
            *.xz) xz -dc "$file" > "$folder/$order.ko" ;;
            *.zst) zstd -qdc "$file" > "$folder/$order.ko" ;;
            *) cp "$file" "$folder/$order.ko" ;;
        esac
        order=$((order + 1))
    done
}

# pack_root FOLDER FILE: a folder as the first file system of a kernel.
pack_root() { (cd "$1" && find . | cpio -o -H newc --quiet | gzip -1) > "$2"; }
