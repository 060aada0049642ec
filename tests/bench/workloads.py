"""The loads, each measured as a rate and as processor time of the server."""

import json
import os
from dataclasses import dataclass

from images import forget
from processes import Failure, cpu_seconds

COPY_REQUEST = 256 * 1024
COPY_SECONDS = 1800
# What fio may take beyond its run time to start, connect and report.
FIO_GRACE_SECONDS = 60


@dataclass(frozen=True)
class Sample:
    """One measurement. cpu is in seconds; operation sizes are those of the workload."""
    operations: int
    size: int
    seconds: float
    cpu: float


@dataclass(frozen=True)
class FioLoad:
    name: str
    title: str
    pattern: str
    size: int
    connections: int
    depth: int
    # The page cache holds none of the image when the measured run begins.
    cold: bool = False

    program = "fio"
    fresh = False

    @property
    def writes(self):
        return "write" in self.pattern

    def measure(self, bench, running):
        self._run(bench, running, min(1.0, bench.seconds))
        if self.cold:
            forget(running.files)
        before = cpu_seconds(running.pid)
        operations, seconds = self._run(bench, running, bench.seconds)
        return Sample(operations, self.size, seconds, cpu_seconds(running.pid) - before)

    def _run(self, bench, running, seconds):
        job, report = os.path.join(bench.folder, "load.fio"), os.path.join(bench.folder, "load.json")
        with open(job, "w", encoding="utf-8") as text:
            # The clients share the processors with the server: thread, norandommap and gtod_reduce keep fio's own work small.
            text.write(
                f"[load]\nioengine=nbd\nuri={running.uri}\nrw={self.pattern}\nbs={self.size}\n"
                f"numjobs={self.connections}\niodepth={self.depth}\ntime_based=1\nruntime={int(seconds * 1000)}ms\n"
                "thread=1\nnorandommap=1\ngtod_reduce=1\ngroup_reporting=1\n")
        return _run_fio(bench, job, report, self.writes, seconds)


@dataclass(frozen=True)
class AllocatingLoad:
    """Writes where nothing is allocated, and one flush at the end, in an image made for it: an eighth of the disk unmeasured, then the rest."""
    name: str
    title: str
    pattern: str
    size: int
    connections: int
    depth: int
    # Bytes written in the measured run by all connections.
    total: int

    program = "fio"
    writes = True
    fresh = True
    cold = False

    def measure(self, bench, running):
        eighth = bench.size // 8
        self._run(bench, running, 0, eighth, min(self.total, eighth) // 4)
        before = cpu_seconds(running.pid)
        operations, seconds = self._run(bench, running, eighth, bench.size - eighth, self.total)
        return Sample(operations, self.size, seconds, cpu_seconds(running.pid) - before)

    def _run(self, bench, running, offset, size, total):
        job, report = os.path.join(bench.folder, "load.fio"), os.path.join(bench.folder, "load.json")
        share = max(total // self.connections // self.size, 1) * self.size
        with open(job, "w", encoding="utf-8") as text:
            text.write(
                f"[load]\nioengine=nbd\nuri={running.uri}\nrw={self.pattern}\nbs={self.size}\n"
                f"numjobs={self.connections}\niodepth={self.depth}\noffset={offset}\nsize={size}\nio_size={share}\nend_fsync=1\n"
                "thread=1\nnorandommap=1\ngtod_reduce=1\ngroup_reporting=1\n")
        return _run_fio(bench, job, report, True, 600)


@dataclass(frozen=True)
class LeanLoad:
    """Random reads by a client that leaves nearly all of the machine to the server (nbdload.c)."""
    name: str
    title: str
    size: int
    connections: int
    depth: int

    program = "nbdload"
    writes = False
    fresh = False
    cold = False

    def measure(self, bench, running):
        self._run(bench, running, min(1.0, bench.seconds))
        before = cpu_seconds(running.pid)
        operations, seconds = self._run(bench, running, bench.seconds)
        return Sample(operations, self.size, seconds, cpu_seconds(running.pid) - before)

    def _run(self, bench, running, seconds):
        arguments = [bench.programs["nbdload"], running.socket, self.connections, self.depth, self.size, seconds]
        operations, took = bench.processes.output([str(a) for a in arguments], seconds + FIO_GRACE_SECONDS).split()
        return int(operations), float(took)


@dataclass(frozen=True)
class CopyLoad:
    name: str
    title: str
    writes: bool

    program = "nbdcopy"
    size = COPY_REQUEST
    fresh = False
    cold = False

    def measure(self, bench, running):
        self._run(bench, running)
        before = cpu_seconds(running.pid)
        seconds = self._run(bench, running)
        return Sample(-(-bench.size // COPY_REQUEST), COPY_REQUEST, seconds, cpu_seconds(running.pid) - before)

    def _run(self, bench, running):
        ends = [bench.images.source, running.uri] if self.writes else [running.uri, "null:"]
        return bench.processes.run([bench.programs["nbdcopy"], f"--request-size={COPY_REQUEST}", *ends], COPY_SECONDS)


def _run_fio(bench, job, report, writes, seconds):
    arguments = [bench.programs["fio"], "--output-format=json", f"--output={report}", job]
    bench.processes.run(arguments, seconds + FIO_GRACE_SECONDS)
    with open(report, encoding="utf-8") as text:
        content = text.read()
    os.unlink(report)
    # fio may print a warning before the document.
    result = json.loads(content[content.index("{"):])["jobs"][0]
    side = result["write" if writes else "read"]
    if result["error"] != 0 or side["total_ios"] == 0:
        raise Failure(f"fio reports error {result['error']} after {side['total_ios']} operations")
    return side["total_ios"], side["runtime"] / 1000


WORKLOADS = [
    LeanLoad("lean-4x32", "4 KiB random read by a lean client, 4 connections x 32 in flight", 4096, 4, 32),
    LeanLoad("lean-1x1", "4 KiB random read by a lean client, 1 connection x 1 in flight", 4096, 1, 1),
    FioLoad("randread-4x32", "4 KiB random read, 4 connections x 32 in flight", "randread", 4096, 4, 32),
    FioLoad("randread-1x32", "4 KiB random read, 1 connection x 32 in flight", "randread", 4096, 1, 32),
    FioLoad("randread-1x1", "4 KiB random read, 1 connection x 1 in flight", "randread", 4096, 1, 1),
    FioLoad("read64k-1x32", "64 KiB random read, 1 connection x 32 in flight", "randread", 1 << 16, 1, 32),
    FioLoad("seqread-1x8", "1 MiB sequential read, 1 connection x 8 in flight", "read", 1 << 20, 1, 8),
    FioLoad("cold-4x32", "4 KiB random read, nothing in the page cache, 4 connections x 32 in flight", "randread", 4096, 4, 32, cold=True),
    FioLoad("cold-1x1", "4 KiB random read, nothing in the page cache, 1 connection x 1 in flight", "randread", 4096, 1, 1, cold=True),
    FioLoad("randwrite-4x32", "4 KiB random write, 4 connections x 32 in flight", "randwrite", 4096, 4, 32),
    AllocatingLoad("allocate-random", "4 KiB random write to an empty image, 4 connections x 32 in flight, flushed", "randwrite", 4096, 4, 32, 64 << 20),
    AllocatingLoad("allocate-sequential", "64 KiB sequential write to an empty image, 1 connection x 8 in flight, flushed", "write", 1 << 16, 1, 8, 448 << 20),
    CopyLoad("copy-out", "nbdcopy from the server to null:", False),
    CopyLoad("copy-in", "nbdcopy from a file to the server", True),
]
