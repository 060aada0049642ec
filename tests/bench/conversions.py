"""blockmount convert beside qemu-img convert: the same file to the same format, in turn."""

import contextlib
import os
import random
import resource
import statistics
from dataclasses import dataclass

from images import read_once, settle
from processes import Failure
from servers import QEMU_FORMATS

SLOW = 1800
TOOLS = ["blockmount", "qemu-img"]


@dataclass(frozen=True)
class Conversion:
    name: str
    source: str
    target: str
    extension: str


EXTENSIONS = {"raw": "raw", "vdi": "vdi", "vmdk": "vmdk", "vhd": "vhd", "stream": "vmdk"}
PLAIN = ["raw", "vdi", "vmdk", "vhd"]

# Every format to every one, its own too, and streams out and in.
CONVERSIONS = [
    Conversion(f"{source}-to-{target}", source, target, EXTENSIONS[target])
    for source, target in [("stream", "raw"), ("raw", "stream"), *((source, target) for source in PLAIN for target in PLAIN)]
]


class Conversions:
    """Measures seconds and processor time (that of the program with all its threads) of whole runs, start included."""

    def __init__(self, bench, wanted, say):
        self._bench = bench
        self._wanted = wanted
        self._say = say
        self._order = random.Random(0)
        self._samples = {}

    def kinds(self):
        return {c.source for c in self._wanted} - {"raw"}

    def round(self, number):
        for conversion in self._wanted:
            tools = list(TOOLS)
            self._order.shuffle(tools)
            for tool in tools:
                self._measure(conversion, tool, check=number == 1)

    def results(self):
        return [
            {"conversion": conversion.name, "tool": tool, "seconds": [s for s, _ in samples], "cpu_seconds": [c for _, c in samples]}
            for conversion in self._wanted for tool in TOOLS if (samples := self._samples.get((conversion.name, tool)))
        ]

    def report(self):
        print("### convert\n")
        print("| conversion | runs | blockmount, s | qemu-img, s | time to qemu-img's | CPU, s | qemu-img's CPU, s | CPU to qemu-img's |")
        print("|---|--:|--:|--:|--:|--:|--:|--:|")
        for conversion in self._wanted:
            ours, theirs = (self._samples.get((conversion.name, tool)) for tool in TOOLS)
            if ours and theirs:
                (seconds, cpu), (their_seconds, their_cpu) = (
                    [statistics.median(column) for column in zip(*samples)] for samples in (ours, theirs))
                print(f"| {conversion.name} | {len(ours)} | {seconds:.2f} | {their_seconds:.2f} | {seconds / their_seconds:.2f} "
                      f"| {cpu:.2f} | {their_cpu:.2f} | {cpu / their_cpu:.2f} |")
        print()

    def _measure(self, conversion, tool, check):
        bench = self._bench
        files = bench.images.files(conversion.source, False) if conversion.source != "raw" else [bench.images.source]
        target = os.path.join(bench.folder, "converted." + conversion.extension)
        read_once(files)
        try:
            # Once unmeasured, as every load: memory that lay idle is dear to get back on a virtual machine, for whoever comes first.
            bench.processes.run(self._arguments(conversion, tool, files[-1], target), SLOW)
            os.unlink(target)
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds = bench.processes.run(self._arguments(conversion, tool, files[-1], target), SLOW)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            if check:
                self._check(conversion, target)
        except Failure as e:
            bench.failed = True
            bench.note(f"{tool} is left out of {conversion.name}: {e}")
            self._samples.pop((conversion.name, tool), None)
            return
        finally:
            # The bytes go to the disk now, and not while the next one is measured.
            with contextlib.suppress(FileNotFoundError):
                settle([target])
                os.unlink(target)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self._samples.setdefault((conversion.name, tool), []).append((seconds, cpu))
        self._say(f"  {conversion.name:15} {tool:18} {seconds:.2f} s, {cpu:.2f} s CPU")

    def _check(self, conversion, target):
        bench = self._bench
        bench.processes.run(
            [bench.programs["qemu-img"], "compare", "-f", "raw", "-F", QEMU_FORMATS[conversion.target], bench.images.source, target], SLOW)

    def _arguments(self, conversion, tool, source, target):
        program = self._bench.programs[tool]
        if tool == "blockmount":
            return [program, "convert", *(["--variant", "stream"] if conversion.target == "stream" else []), source, target]
        # -W: writes may go out of order. -t writeback: the result is flushed at the end, as blockmount's is.
        special = ["-o", "subformat=streamOptimized"] if conversion.target == "stream" else ["-W"]
        return [program, "convert", "-t", "writeback", "-f", QEMU_FORMATS[conversion.source], "-O", QEMU_FORMATS[conversion.target], *special, source, target]
