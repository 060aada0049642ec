"""The data that every server gives out: one disk, half random bytes and half words, as a raw file, as dynamic images and as chains of VDIs."""

import contextlib
import hashlib
import os
import random
import shutil
import subprocess

from processes import Failure
from servers import QEMU_FORMATS, Server, serving

MIB = 1 << 20
PIECE = 4096
CHAINS = {"chain": 4, "chain32": 32}
SLOW = 1800
# Name of the file, and what blockmount convert is told, by kind of image.
CONVERTED = {
    "vdi": ("data.vdi", []),
    "vhd": ("data.vhd", []),
    "vmdk": ("data.vmdk", []),
    "stream": ("data.vmdk", ["--variant", "stream"]),
}
TEXTS = 16


class Images:
    """Read workloads and write workloads have files of their own, so that the read ones keep the same bytes."""

    def __init__(self, folder, size, seed, processes, programs, say):
        self._folder = folder
        self._size = size
        self._random = random.Random(seed)
        self._processes = processes
        self._programs = programs
        self._say = say
        self._files = {}
        self._loops = []
        self.source = os.path.join(folder, "data.raw")
        self.digest = None

    def has(self, image, writes):
        return (image, writes) in self._files

    def path(self, image, writes):
        """The file to serve: of a chain, its leaf."""
        return self._files[image, writes][-1]

    def files(self, image, writes):
        """Every file behind the disk, base first."""
        return self._files[image, writes]

    def make_source(self):
        self._say(f"writing {self._size // MIB} MiB, half random bytes and half words")
        texts = [self._text() for _ in range(TEXTS)]
        digest = hashlib.sha256()
        with open(self.source, "wb") as data:
            for number in range(self._size // MIB):
                # What is stored compressed shrinks to about two thirds: neither nothing nor everything of it is literal.
                block = os.urandom(MIB) if number % 2 == 0 else texts[number // 2 % TEXTS]
                digest.update(block)
                data.write(block)
        self.digest = digest.hexdigest()
        self._files["raw", False] = [self.source]

    def make_raw_copy(self):
        self._files["raw", True] = [self._copy(self.source, "writes.raw")]

    def make_device(self, writes):
        """A loop device over the raw file: a disk as fast as memory, so that the servers are compared and not a disk."""
        [file] = self._files["raw", writes]
        made = subprocess.run(["losetup", "--find", "--show", file], check=True, capture_output=True, text=True)
        self._loops.append(made.stdout.strip())
        self._files["device", writes] = [file, self._loops[-1]]

    def close(self):
        """Gives the loop devices back."""
        while self._loops:
            subprocess.run(["losetup", "--detach", self._loops.pop()], check=True)

    def make_image(self, kind, writes):
        """Made by blockmount convert; by qemu-img where blockmount is missing, for the sake of the other columns."""
        self._say(f"making the image {kind}")
        name, options = CONVERTED[kind]
        path = self._new(f"{kind}-writes" if writes else kind, name)
        self._convert(self.source, path, kind, options)
        self._files[kind, writes] = [path]

    def make_chain(self, name, reads, writes):
        """An equal share of the 1 MiB blocks stays with the base and belongs to each of the children.

        The base holds other bytes wherever a child is to be written, so only a server that takes each
        block from its right level gives out the data.
        """
        levels_count = CHAINS[name]
        self._say(f"making the chain of {levels_count}")
        blocks = list(range(self._size // MIB))
        self._random.shuffle(blocks)
        places = [block * MIB + self._random.randrange(MIB // PIECE) * PIECE for block in blocks]
        pieces = [places[level::levels_count] for level in range(levels_count)]
        levels = [self._make_base(name, [at for level in pieces[1:] for at in level])]
        for level in range(1, levels_count - 1):
            levels.append(self._make_child(name, f"level{level}.vdi", levels[-1], pieces[level]))
        if reads:
            self._files[name, False] = [*levels, self._make_child(name, f"level{levels_count - 1}.vdi", levels[-1], pieces[-1])]
        if writes:
            # Every block is allocated in this leaf, so that writes measure writing and not the first copy of a block.
            last = set(pieces[-1]) | {b * MIB for b in range(self._size // MIB)}
            self._files[name, True] = [*levels, self._make_child(name, f"level{levels_count - 1}-writes.vdi", levels[-1], sorted(last))]

    def make_fresh(self, kind):
        """An empty image of the disk's size, in place of the last one of that kind."""
        path = self._new("fresh", "data." + kind)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        if "blockmount" in self._programs:
            self._processes.run([self._programs["blockmount"], "create", path, "--size", str(self._size)], SLOW)
        else:
            self._processes.run([self._programs["qemu-img"], "create", "-f", QEMU_FORMATS[kind], path, str(self._size)], SLOW)
        return path

    def _make_base(self, name, wrong):
        raw = self._copy(self.source, "base.raw")
        with open(raw, "r+b") as base:
            for at in wrong:
                base.seek(at)
                other = bytes(b ^ 0xFF for b in base.read(PIECE))
                base.seek(at)
                base.write(other)
        path = self._new(name, "level0.vdi")
        self._convert(raw, path, "vdi", [])
        os.unlink(raw)
        return path

    def _make_child(self, chain, name, parent, pieces):
        """A differencing image whose pieces are written through blockmount's own server."""
        path = self._new(chain, name)
        program = self._programs["blockmount"]
        self._processes.run([program, "create", path, "--parent", parent], SLOW)
        sparse = os.path.join(self._folder, "pieces.raw")
        with open(self.source, "rb") as data, open(sparse, "wb") as holes:
            holes.truncate(self._size)
            for at in pieces:
                data.seek(at)
                holes.seek(at)
                holes.write(data.read(PIECE))
        server = Server("blockmount-chain", "", "blockmount", "chain")
        with serving(self._processes, self._folder, server, program, path, read_only=False) as running:
            # Told that the target is zero, nbdcopy leaves out the holes and writes the pieces only.
            self._processes.run([self._programs["nbdcopy"], "--destination-is-zero", "--flush", sparse, running.uri], SLOW)
        os.unlink(sparse)
        return path

    def _convert(self, source, target, kind, options):
        if "blockmount" in self._programs:
            self._processes.run([self._programs["blockmount"], "convert", *options, source, target], SLOW)
        else:
            special = ["-o", "subformat=streamOptimized"] if kind == "stream" else []
            self._processes.run([self._programs["qemu-img"], "convert", "-f", "raw", "-O", QEMU_FORMATS[kind], *special, source, target], SLOW)

    def _text(self):
        words = ["".join(self._random.choices("abcdefghijklmnopqrstuvwxyz", k=self._random.randrange(2, 10))) for _ in range(4096)]
        text = " ".join(self._random.choices(words, k=MIB // 4)).encode()
        return text[:MIB]

    def _new(self, folder, name):
        # Folders of their own: two copies of one VDI share a UUID, by which a parent is looked for.
        os.makedirs(os.path.join(self._folder, folder), exist_ok=True)
        return os.path.join(self._folder, folder, name)

    def _copy(self, source, name):
        path = os.path.join(self._folder, name)
        shutil.copyfile(source, path)
        return path


def require_space(folder, size, copies, chains):
    """The most that lies in the folder at once, in whole disks of data, against what the file system has free."""
    # While a chain is made, its base lies there a second time; of chains, what is read and what is written.
    kept = sum(1.5 + 0.25 * reads + 1 * writes for reads, writes in chains)
    needed = int((1 + copies + max(kept, 2 if chains else 0)) * size * 1.05)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Failure(
            f"{folder} has {free // MIB} MiB free and {needed // MIB} MiB are needed; "
            "set TMPDIR to a larger folder or give a smaller --size")


def read_once(files):
    """Brings files into the page cache."""
    for path in files:
        with open(path, "rb", buffering=0) as data:
            while data.read(4 * MIB):
                pass


def forget(files):
    """Asks the kernel to drop the files' pages, which are clean."""
    for path in files:
        with open(path, "rb") as data:
            os.fsync(data.fileno())
            os.posix_fadvise(data.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def settle(files):
    """Waits until what was written is on the disk, so that it does not weigh on the next measurement."""
    for path in files:
        with open(path, "rb") as data:
            os.fsync(data.fileno())
