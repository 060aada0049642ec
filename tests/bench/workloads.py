"""The loads, each measured as a rate and as processor time of the server."""

import json
import os
from dataclasses import dataclass

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

    program = "fio"

    @property
    def writes(self):
        return "write" in self.pattern

    def measure(self, bench, running):
        self._run(bench, running, min(1.0, bench.seconds))
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
        arguments = [bench.programs["fio"], "--output-format=json", f"--output={report}", job]
        bench.processes.run(arguments, seconds + FIO_GRACE_SECONDS)
        with open(report, encoding="utf-8") as text:
            content = text.read()
        os.unlink(report)
        # fio may print a warning before the document.
        result = json.loads(content[content.index("{"):])["jobs"][0]
        side = result["write" if self.writes else "read"]
        if result["error"] != 0 or side["total_ios"] == 0:
            raise Failure(f"fio reports error {result['error']} after {side['total_ios']} operations")
        return side["total_ios"], side["runtime"] / 1000


@dataclass(frozen=True)
class CopyLoad:
    name: str
    title: str
    writes: bool

    program = "nbdcopy"
    size = COPY_REQUEST

    def measure(self, bench, running):
        self._run(bench, running)
        before = cpu_seconds(running.pid)
        seconds = self._run(bench, running)
        return Sample(-(-bench.size // COPY_REQUEST), COPY_REQUEST, seconds, cpu_seconds(running.pid) - before)

    def _run(self, bench, running):
        ends = [bench.images.source, running.uri] if self.writes else [running.uri, "null:"]
        return bench.processes.run([bench.programs["nbdcopy"], f"--request-size={COPY_REQUEST}", *ends], COPY_SECONDS)


WORKLOADS = [
    FioLoad("randread-4x32", "4 KiB random read, 4 connections x 32 in flight", "randread", 4096, 4, 32),
    FioLoad("randread-1x1", "4 KiB random read, 1 connection x 1 in flight", "randread", 4096, 1, 1),
    FioLoad("seqread-1x8", "1 MiB sequential read, 1 connection x 8 in flight", "read", 1 << 20, 1, 8),
    FioLoad("randwrite-4x32", "4 KiB random write, 4 connections x 32 in flight", "randwrite", 4096, 4, 32),
    CopyLoad("copy-out", "nbdcopy from the server to null:", False),
    CopyLoad("copy-in", "nbdcopy from a file to the server", True),
]
