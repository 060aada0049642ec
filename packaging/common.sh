# Shared by packaging/install and tests/run; sourced, not run.

# To build: the C compiler for native-shims. To run: libdeflate, FUSE and the tools that mount. Peers: what tests compare with.
BUILD_PACKAGES=(gcc libc6-dev)
PEER_PACKAGES=(qemu-utils libvmdk-utils libvhdi-utils qemu-block-extra nbdkit libnbd-bin python3-libnbd nbd-client fio fdisk xfsprogs btrfs-progs
    dosfstools exfatprogs ntfs-3g f2fs-tools reiserfsprogs udftools lvm2 cryptsetup-bin squashfs-tools genisoimage
    mandoc man-db bash zsh fish debootstrap lintian dpkg-dev systemd
    gdisk parted sleuthkit qemu-system-x86 busybox-static cpio kmod xz-utils strace procps)
RUN_PACKAGES=(libdeflate0 libfuse3-3 fuse3 e2fsprogs mount util-linux)

# Installs what is missing of the packages named; quietly goes on where that is not possible.
install_packages() {
    command -v dpkg-query > /dev/null && command -v apt-get > /dev/null || return 0
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2> /dev/null | grep -q '^ii' || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0

    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        if ! sudo -n true 2> /dev/null; then
            echo "missing packages, which only root can install: sudo apt-get install ${missing[*]}" >&2
            return 0
        fi
        as_root=(sudo -n)
    fi
    echo "== installing ${missing[*]}"
    "${as_root[@]}" apt-get update -qq > /dev/null 2>&1
    # One by one when together fails: a package that one release lacks must not cost the others.
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null 2>&1 && return 0
    for package in "${missing[@]}"; do
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" > /dev/null 2>&1 \
            || echo "the package $package could not be installed" >&2
    done
}

require_dotnet() {
    if ! command -v dotnet > /dev/null || ! dotnet --list-sdks | grep -q '^10\.'; then
        echo "The .NET 10 SDK is missing: install dotnet-sdk-10.0 (https://learn.microsoft.com/dotnet/core/install/linux) and run this again." >&2
        exit 5
    fi
    export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1
}
