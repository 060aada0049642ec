"""blockmount compact beside blockmount convert to a new file: two ways to a small image, of a disk of which half was made zero."""

import contextlib
import os
import random
import resource
import shutil
import statistics
from dataclasses import dataclass

from images import MIB, read_once, settle
from processes import Failure
from servers import QEMU_FORMATS

SLOW = 1800
STRETCH = 16 * MIB
WAYS = ["compact", "convert"]


@dataclass(frozen=True)
class Compaction:
    name: str
    kind: str


COMPACTIONS = [Compaction(f"compact-{kind}", kind) for kind in ("vdi", "vmdk", "vhd")]


class Compactions:
    """Measures seconds, processor time and what is left of the file; the image is the same before each run."""

    def __init__(self, bench, wanted, say):
        self._bench = bench
        self._wanted = wanted
        self._say = say
        self._order = random.Random(0)
        self._prepared = {}
        self._samples = {}

    def kinds(self):
        return {c.kind for c in self._wanted}

    @staticmethod
    def is_offered(bench):
        """Whether this blockmount has the command."""
        with contextlib.suppress(Failure):
            bench.processes.run([bench.programs["blockmount"], "compact", "--help"], SLOW)
            return True
        return False

    def prepare(self):
        """Every second stretch of the disk is overwritten with zeros, as bytes, which every format stores."""
        bench = self._bench
        for name, kind in ((c.name, c.kind) for c in self._wanted):
            self._say(f"writing zeros to half of an image for {name}")
            path = os.path.join(bench.folder, "half." + kind)
            shutil.copyfile(bench.images.files(kind, False)[-1], path)
            writes = [["-c", f"write -q -P 0 {at} {min(STRETCH, bench.size - at)}"] for at in range(0, bench.size, 2 * STRETCH)]
            bench.processes.run([bench.programs["qemu-io"], "-f", QEMU_FORMATS[kind], *sum(writes, []), "-c", "flush", path], SLOW)
            self._prepared[name] = path

    def round(self, number):
        for name in (c.name for c in self._wanted):
            ways = list(WAYS)
            self._order.shuffle(ways)
            for way in ways:
                self._measure(name, way, check=number == 1)

    def results(self):
        return [
            {"compaction": name, "way": way, "seconds": [s for s, _, _ in samples], "cpu_seconds": [c for _, c, _ in samples], "file_size": [f for _, _, f in samples]}
            for name in (c.name for c in self._wanted) for way in WAYS if (samples := self._samples.get((name, way)))
        ]

    def report(self):
        print("### compact\n")
        print("| image | runs | compact, s | convert, s | time to convert's | CPU, s | convert's CPU, s | MiB before | after compact | after convert |")
        print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
        for name in (c.name for c in self._wanted):
            ours, theirs = (self._samples.get((name, way)) for way in WAYS)
            if ours and theirs:
                (seconds, cpu, left), (their_seconds, their_cpu, their_left) = (
                    [statistics.median(column) for column in zip(*samples)] for samples in (ours, theirs))
                before = os.path.getsize(self._prepared[name]) / MIB
                print(f"| {name} | {len(ours)} | {seconds:.2f} | {their_seconds:.2f} | {seconds / their_seconds:.2f} | {cpu:.2f} | {their_cpu:.2f} "
                      f"| {before:.0f} | {left / MIB:.0f} | {their_left / MIB:.0f} |")
        print()

    def _measure(self, name, way, check):
        bench = self._bench
        prepared = self._prepared[name]
        extension = os.path.splitext(prepared)[1]
        work, target = (os.path.join(bench.folder, stem + extension) for stem in ("compacted", "rewritten"))
        result = work if way == "compact" else target
        try:
            shutil.copyfile(prepared, work)
            settle([work])
            read_once([work])
            program = bench.programs["blockmount"]
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds = bench.processes.run([program, "compact", work] if way == "compact" else [program, "convert", work, target], SLOW)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            kind = QEMU_FORMATS[extension[1:]]
            if check:
                bench.processes.run([bench.programs["qemu-img"], "compare", "-f", kind, "-F", kind, prepared, result], SLOW)
            left = os.path.getsize(result)
        except Failure as e:
            bench.failed = True
            bench.note(f"{way} is left out of {name}: {e}")
            self._samples.pop((name, way), None)
            return
        finally:
            for path in (work, target):
                with contextlib.suppress(FileNotFoundError):
                    settle([path])
                    os.unlink(path)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self._samples.setdefault((name, way), []).append((seconds, cpu, left))
        self._say(f"  {name:15} {way:18} {seconds:.2f} s, {cpu:.2f} s CPU, {left // MIB} MiB left")
