"""Disks as /dev/nbdN of a guest's kernel: the same loads on the device with each server behind it."""

import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass

import report
from processes import Failure
from workloads import Sample

MIB = 1 << 20
SIZE = 64 * MIB
RIG = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "guest", "run")
GUEST = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kernel_guest.py")
# The rig's own reasons for not running, as opposed to the script's.
COULD_NOT_RUN = 125


@dataclass(frozen=True)
class Road:
    """A server that the kernel's nbd driver is connected with."""
    name: str
    title: str
    program: str
    image: str


ROADS = [
    Road("blockmount-raw", "blockmount attach, raw", "blockmount", "raw"),
    Road("blockmount-vdi", "blockmount attach, VDI", "blockmount", "vdi"),
    Road("qemu-raw", "qemu-nbd and nbd-client, raw", "qemu-nbd", "raw"),
    Road("qemu-vdi", "qemu-nbd and nbd-client, VDI", "qemu-nbd", "vdi"),
    Road("nbdkit-raw", "nbdkit file and nbd-client, raw", "nbdkit", "raw"),
]


@dataclass(frozen=True)
class KernelLoad:
    """A load of fio on the device, past the guest's page cache."""
    name: str
    title: str
    pattern: str
    size: int
    jobs: int
    depth: int
    fsync: int = 0


LOADS = [
    KernelLoad("kernel-randread-1x1", "4 KiB random reads of /dev/nbdN in a guest, one at a time", "randread", 4096, 1, 1),
    KernelLoad("kernel-randread-4x8", "4 KiB random reads of /dev/nbdN in a guest, 4 jobs with 8 in flight each", "randread", 4096, 4, 8),
    KernelLoad("kernel-read-1x4", "1 MiB reads of /dev/nbdN in a guest, one after the other, 4 in flight", "read", MIB, 1, 4),
    KernelLoad("kernel-randwrite-1x1", "4 KiB random writes of /dev/nbdN in a guest, one at a time", "randwrite", 4096, 1, 1),
    KernelLoad("kernel-randwrite-4x8", "4 KiB random writes of /dev/nbdN in a guest, 4 jobs with 8 in flight each", "randwrite", 4096, 4, 8),
    KernelLoad("kernel-randwrite-sync", "4 KiB random writes of /dev/nbdN in a guest, each followed by fsync", "randwrite", 4096, 1, 1, 1),
    KernelLoad("kernel-write-1x4", "1 MiB writes of /dev/nbdN in a guest, one after the other, 4 in flight", "write", MIB, 1, 4),
]


class KernelRuns:
    """All rounds in one boot. The images lie in the guest's memory, so that its way to this machine's files is not measured."""

    def __init__(self, bench, wanted, say):
        self._bench = bench
        self._loads = wanted
        self._say = say
        self._samples = {}
        self._roads = []

    @staticmethod
    def missing(programs):
        """What is not there, as a sentence; None when a guest can run, with at least one peer."""
        if "blockmount" not in programs:
            return "the kernel's loads need blockmount"
        if not {"qemu-nbd", "nbdkit"} & programs.keys() or "nbd-client" not in programs or "fio" not in programs:
            return "the kernel's loads need fio, nbd-client, and qemu-nbd or nbdkit"
        return None

    def run(self, rounds):
        bench = self._bench
        self._roads = [r for r in ROADS if r.program in bench.programs]
        files = self._make_images()
        plan = {
            "programs": bench.programs,
            "rounds": rounds,
            "seconds": bench.seconds,
            "digest": bench.processes.sha256(["cat", files["raw"]], 60),
            "files": files,
            "roads": [vars(r) for r in self._shuffled()],
            "loads": [vars(load) for load in self._loads],
        }
        path = os.path.join(bench.folder, "kernel.json")
        with open(path, "w", encoding="utf-8") as out:
            json.dump(plan, out)
        # Attaching and fio's own start take their time in a guest that is emulated.
        limit = 300 + rounds * len(self._roads) * (60 + len(self._loads) * (bench.seconds + 30))
        copies = [argument for file in files.values() for argument in ("--copy", file)]
        # Of two processors that take turns in one thread each would be charged for the other. Compiling at run time is dozens of times slower there than what it compiles is worth: less of it.
        arguments = [RIG, "--mem", "3G", "--cpus", "1", "--timeout", str(int(limit)), "--env", "DOTNET_TieredPGO=0", *copies, sys.executable, GUEST, path]
        self._say("booting a guest for the kernel's loads")
        process = bench.processes.start(arguments, os.path.join(bench.folder, "kernel.log"), piped=True)
        try:
            for line in process.stdout:
                self._take(line.decode(errors="replace").strip())
            status = process.wait()
        finally:
            bench.processes.end(process)
        if status != 0:
            with open(os.path.join(bench.folder, "kernel.log"), encoding="utf-8", errors="replace") as log:
                reason = " ".join(log.read().split())[-300:]
            bench.note(f"the kernel's loads {'could not run' if status == COULD_NOT_RUN else 'were broken off'}: {reason}")
            self._samples.clear()
            bench.failed |= status != COULD_NOT_RUN

    def report(self):
        for load in self._loads:
            rows = report.summary(load, self._roads, self._samples)
            if rows:
                print(report.table(load, rows))

    def results(self):
        return [
            {"road": road, "load": load, "samples": [vars(s) for s in samples]} for (road, load), samples in self._samples.items()]

    def _shuffled(self):
        roads = list(self._roads)
        random.Random(self._bench.seed).shuffle(roads)
        return roads

    def _make_images(self):
        raw, vdi = (os.path.join(self._bench.folder, name) for name in ("kernel.raw", "kernel.vdi"))
        with open(raw, "wb") as out:
            for _ in range(SIZE // MIB):
                out.write(os.urandom(MIB))
        subprocess.run([self._bench.programs["blockmount"], "convert", raw, vdi], check=True, stdout=subprocess.DEVNULL)
        return {"raw": raw, "vdi": vdi}

    def _take(self, line):
        """A line of JSON is a measurement or a failure; others are what programs said."""
        try:
            told = json.loads(line)
        except ValueError:
            if line:
                self._say(f"  guest: {line}")
            return
        if "failed" in told:
            self._bench.note(f"{told['road']} is left out of the kernel's loads: {told['failed']}")
            self._samples = {key: value for key, value in self._samples.items() if key[0] != told["road"]}
            self._bench.failed = True
            return
        sample = Sample(told["operations"], told["size"], told["seconds"], told["cpu"])
        self._samples.setdefault((told["road"], told["load"]), []).append(sample)
        load = next(load for load in self._loads if load.name == told["load"])
        self._say(f"  {load.name:22} {told['road']:16} {report.show_rate(load, report.rate([sample])[0])}")
