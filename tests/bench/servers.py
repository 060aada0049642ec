"""The servers that are compared, and how one is started on a Unix socket and ended."""

import contextlib
import os
import signal
import socket
import time
import urllib.parse
from dataclasses import dataclass

from processes import Failure, tail

START_SECONDS = 30
END_SECONDS = 60
# unix(7): sun_path holds 108 bytes with the terminating zero.
SOCKET_PATH_LIMIT = 107
NBD_MAGIC = b"NBDMAGIC"


# Images that are made empty for one measurement.
FRESH = ("vdi", "vhd", "vmdk")
QEMU_FORMATS = {"raw": "raw", "device": "raw", "vdi": "vdi", "vhd": "vpc", "vmdk": "vmdk", "stream": "vmdk"}


@dataclass(frozen=True)
class Server:
    name: str
    title: str
    program: str
    image: str
    aio: str = ""
    cache: str = ""

    def arguments(self, program, image, path, read_only):
        if self.program == "blockmount":
            return [program, "serve", image, "--socket", path] + (["--read-only"] if read_only else [])
        if self.program == "qemu-nbd":
            kind = QEMU_FORMATS[self.image]
            # -t: stay after the last client; -e 0: any number of clients.
            options = ["-t", "-e", "0", "-f", kind, f"--aio={self.aio}"] + (["-r"] if read_only else [])
            options += [f"--cache={self.cache}"] if self.cache else []
            return [program, *options, "-k", path, image]
        return [program, "-f", "-U", path] + (["-r"] if read_only else []) + ["file", image]

    def can(self, workload):
        """A stream is written once, when it is made; a chain and a raw file have nothing to allocate that all servers make alike; what is
        behind a loop device stays in the page cache."""
        if workload.fresh:
            return self.image in FRESH
        if self.image == "device" and workload.cold:
            return False
        return self.image not in ("stream", "chain32") or not workload.writes


SERVERS = [
    Server("blockmount-raw", "blockmount, raw", "blockmount", "raw"),
    Server("blockmount-vdi", "blockmount, VDI", "blockmount", "vdi"),
    Server("blockmount-vhd", "blockmount, VHD", "blockmount", "vhd"),
    Server("blockmount-vmdk", "blockmount, VMDK sparse", "blockmount", "vmdk"),
    Server("blockmount-stream", "blockmount, VMDK streamOptimized", "blockmount", "stream"),
    Server("blockmount-chain", "blockmount, VDI chain of 4", "blockmount", "chain"),
    Server("blockmount-chain32", "blockmount, VDI chain of 32", "blockmount", "chain32"),
    Server("qemu-raw-threads", "qemu-nbd, raw, threads", "qemu-nbd", "raw", "threads"),
    Server("qemu-raw-io_uring", "qemu-nbd, raw, io_uring", "qemu-nbd", "raw", "io_uring"),
    Server("qemu-vdi-threads", "qemu-nbd, VDI, threads", "qemu-nbd", "vdi", "threads"),
    Server("qemu-vdi-io_uring", "qemu-nbd, VDI, io_uring", "qemu-nbd", "vdi", "io_uring"),
    Server("qemu-vhd-threads", "qemu-nbd, VHD, threads", "qemu-nbd", "vhd", "threads"),
    Server("qemu-vhd-io_uring", "qemu-nbd, VHD, io_uring", "qemu-nbd", "vhd", "io_uring"),
    Server("qemu-vmdk-threads", "qemu-nbd, VMDK sparse, threads", "qemu-nbd", "vmdk", "threads"),
    Server("qemu-vmdk-io_uring", "qemu-nbd, VMDK sparse, io_uring", "qemu-nbd", "vmdk", "io_uring"),
    Server("qemu-stream-threads", "qemu-nbd, VMDK streamOptimized, threads", "qemu-nbd", "stream", "threads"),
    Server("qemu-stream-io_uring", "qemu-nbd, VMDK streamOptimized, io_uring", "qemu-nbd", "stream", "io_uring"),
    Server("nbdkit-raw", "nbdkit file, raw", "nbdkit", "raw"),
    Server("blockmount-device", "blockmount, block device", "blockmount", "device"),
    Server("qemu-device-io_uring", "qemu-nbd, block device past the page cache, io_uring", "qemu-nbd", "device", "io_uring", "none"),
    Server("nbdkit-device", "nbdkit file, block device through the page cache", "nbdkit", "device"),
]


@dataclass(frozen=True)
class Running:
    pid: int
    uri: str
    socket: str
    files: tuple


def socket_path(folder):
    path = os.path.join(folder, "s")
    if len(os.fsencode(path)) > SOCKET_PATH_LIMIT:
        raise Failure(
            f"{path} is too long for a Unix socket ({SOCKET_PATH_LIMIT} bytes are allowed); set TMPDIR to a shorter folder")
    return path


@contextlib.contextmanager
def serving(processes, folder, server, program, image, read_only, files=()):
    """Serves an image until the end of the block. The server must still run then, and end by itself on SIGTERM."""
    path = socket_path(folder)
    log = os.path.join(folder, "server.log")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    process = processes.start(server.arguments(program, image, path, read_only), log)
    try:
        _wait_until_ready(process, server, path, log)
        try:
            yield Running(process.pid, f"nbd+unix:///?socket={urllib.parse.quote(path)}", path, tuple(files))
        except Failure as e:
            # What the client says of a server that is gone, or that failed a request, explains nothing.
            # Servers may write their log a moment later.
            time.sleep(0.5)
            _require_alive(process, server, log)
            raise Failure(f"{e} (the server said: {tail(log)})") from e
        _require_alive(process, server, log)
    finally:
        status = processes.end(process, END_SECONDS)
    if status == -signal.SIGKILL:
        raise Failure(f"{server.name} did not end within {END_SECONDS} s of SIGTERM: {tail(log)}")


def _require_alive(process, server, log):
    if process.poll() is not None:
        raise Failure(f"{server.name} ended under load with status {process.returncode}: {tail(log)}")


def _wait_until_ready(process, server, path, log):
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Failure(f"{server.name} ended with status {process.returncode} instead of serving: {tail(log)}")
        if (server.program != "blockmount" or _says_ready(log)) and _greets(path):
            return
        time.sleep(0.01)
    raise Failure(f"{server.name} accepted no connection within {START_SECONDS} s: {tail(log)}")


def _says_ready(log):
    with open(log, encoding="utf-8", errors="replace") as text:
        return any(line.strip() == "ready" for line in text)


def _greets(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        try:
            client.connect(path)
            return client.recv(len(NBD_MAGIC)) == NBD_MAGIC
        except OSError:
            return False
