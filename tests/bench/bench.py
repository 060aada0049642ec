"""The course of a benchmark: make the data, check that every server gives it out, measure in interleaved rounds, report."""

import os
import random
import shutil
import sys
import tempfile

import options
import report
from compactions import Compactions
from conversions import Conversions
from images import CHAINS, CONVERTED, Images, read_once, require_space, settle
from kernel import KernelRuns
from processes import Failure, Interrupted, Interrupts, Processes
from servers import serving, socket_path

CHECK_SECONDS = 1800


class Bench:
    """One run, in a temporary folder of its own."""

    def __init__(self, settings, folder, processes):
        self.folder = folder
        self.processes = processes
        self.seconds = settings.seconds
        self.size = settings.size
        self.programs, self._missing = options.find_programs(settings.program)
        if load := options.build_load(folder):
            self.programs["nbdload"] = load
        self.images = Images(folder, self.size, settings.seed, processes, self.programs, say)
        self.servers = settings.only
        self.workloads = settings.workloads
        self.conversions = None
        self.compactions = None
        self.kernel = None
        self.seed = settings.seed
        self.samples = {}
        self.notes = []
        self.failed = False
        self._settings = settings
        self._order = random.Random(settings.seed)
        self._left_out = set()

    def run(self):
        if self._settings.json:
            # Found out now, and not after the last round.
            with open(self._settings.json, "a", encoding="utf-8"):
                pass
        socket_path(self.folder)
        self._leave_out_missing()
        facts = report.environment(self.programs, self.folder)
        shown = {"rounds": self._settings.rounds, "seconds": self.seconds, "size": self.size, "seed": self._settings.seed}
        print("\n".join(f"- {name}: {value}" for name, value in {**facts, **shown}.items()) + "\n", flush=True)
        self._make_images()
        for server in self.servers:
            self._check(server, writes=False)
        if not any(self._measured(s, w) for s in self.servers for w in self.workloads) and not self.conversions and not self.compactions and not self.kernel:
            raise Failure("nothing is left to measure")
        for number in range(1, self._settings.rounds + 1):
            self._round(number)
            if self.conversions:
                self.conversions.round(number)
            if self.compactions:
                self.compactions.round(number)
        if self.kernel:
            self.kernel.run(self._settings.rounds)
        self._report(facts, shown)
        return 1 if self.failed else 0

    def _leave_out_missing(self):
        for program in sorted({s.program for s in self.servers} | {w.program for w in self.workloads}):
            if program in self._missing:
                self.note(self._missing[program])
        self.servers = [s for s in self.servers if s.program in self.programs]
        self.workloads = [w for w in self.workloads if w.program in self.programs]
        self.servers = self.servers if self.workloads else []
        if any(s.image == "device" for s in self.servers) and (os.geteuid() != 0 or not shutil.which("losetup")):
            self.note("block devices are left out, as loop devices need root and losetup")
            self.servers = [s for s in self.servers if s.image != "device"]
        # The check of what is served, and the making of the chain, need nbdcopy.
        if "nbdcopy" not in self.programs:
            raise Failure(self._missing["nbdcopy"])
        if "blockmount" not in self.programs and any(s.image in CONVERTED for s in self.servers):
            if "qemu-img" not in self.programs:
                self.note("neither blockmount nor qemu-img is there to make images")
                self.servers = [s for s in self.servers if s.image not in CONVERTED]
            else:
                self.note("images are made by qemu-img, as blockmount is missing")
        if self._settings.conversions:
            if {"blockmount", "qemu-img"} <= self.programs.keys():
                self.conversions = Conversions(self, self._settings.conversions, say)
            else:
                self.note("conversions are left out, as they need blockmount and qemu-img")
        if self._settings.compactions:
            if not {"blockmount", "qemu-img", "qemu-io"} <= self.programs.keys():
                self.note("compactions are left out, as they need blockmount, qemu-img and qemu-io")
            elif not Compactions.is_offered(self):
                self.note("compactions are left out, as this blockmount has no command compact")
            else:
                self.compactions = Compactions(self, self._settings.compactions, say)
        if self._settings.kernel:
            if missing := KernelRuns.missing(self.programs):
                self.note(missing)
            else:
                self.kernel = KernelRuns(self, self._settings.kernel, say)
        if (not self.servers or not self.workloads) and not self.kernel:
            raise Failure("no server or no workload is left to measure")

    def _make_images(self):
        kinds = {s.image for s in self.servers}
        writes = any(w.writes for w in self.workloads)
        is_device_written = any((s.image, w.writes and s.can(w)) == ("device", True) for s in self.servers for w in self.workloads)
        # Reading is always checked, so the files for it are always made.
        chains = [name for name in CHAINS if name in kinds]
        wanted = {(s.image, False) for s in self.servers} | {(s.image, True) for s in self.servers for w in self.workloads if w.writes and not w.fresh and s.can(w)}
        wanted |= {(kind, False) for kind in (self.conversions.kinds() if self.conversions else set()) | (self.compactions.kinds() if self.compactions else set())}
        images = sorted((kind, copy) for kind, copy in wanted if kind in CONVERTED)
        # While a conversion is measured its result lies there too; while a compaction is, its image, a copy of that and what becomes of it.
        fresh = any(w.fresh for w in self.workloads)
        require_space(
            self.folder, self.size, len(images) + (("raw", True) in wanted or is_device_written) + max(bool(self.conversions), 2 * bool(self.compactions)) + fresh
            + len(self.compactions.kinds() if self.compactions else ()),
            [(True, (name, True) in wanted) for name in chains])
        if not kinds and not self.conversions and not self.compactions:
            return
        self.images.make_source()
        if ("raw" in kinds and writes) or is_device_written:
            self.images.make_raw_copy()
        if "device" in kinds:
            self.images.make_device(writes=False)
        if is_device_written:
            self.images.make_device(writes=True)
        for kind, copy in images:
            self.images.make_image(kind, copy)
        for name in chains:
            self.images.make_chain(name, True, (name, True) in wanted)
        if self.compactions:
            self.compactions.prepare()

    def _check(self, server, writes):
        """A server that gives out other bytes has nothing to be measured for."""
        say(f"checking what {server.name} serves")
        try:
            with self._serving(server, writes, read_only=True) as running:
                served = self.processes.sha256([self.programs["nbdcopy"], running.uri, "-"], CHECK_SECONDS)
        except Failure as e:
            # A peer may lack what this host does not allow, such as io_uring.
            self._leave_out(server, self.workloads, str(e), is_failure=server.program == "blockmount")
            return
        if served != self.images.digest:
            when = "after nbdcopy wrote it" if writes else "before anything was measured"
            self._leave_out(server, self.workloads, f"{server.name} gives out other bytes than {self.images.source}, {when}")

    def _round(self, number):
        order = list(self.servers)
        self._order.shuffle(order)
        say(f"round {number} of {self._settings.rounds}: {', '.join(s.name for s in order)}")
        for workload in self.workloads:
            for server in order:
                if self._measured(server, workload):
                    self._measure(server, workload)
                if workload.name == "copy-in" and number == self._settings.rounds and self._measured(server, workload):
                    self._check(server, writes=True)

    def _measured(self, server, workload):
        return server.can(workload) and (server.name, workload.name) not in self._left_out

    def _measure(self, server, workload):
        files = [self.images.make_fresh(server.image)] if workload.fresh else self.images.files(server.image, workload.writes)
        read_once(files + [self.images.source])
        try:
            with self._serving_files(server, files, read_only=not workload.writes) as running:
                sample = workload.measure(self, running)
        except Failure as e:
            self._leave_out(server, [workload], f"{workload.name} failed: {e}")
            return
        finally:
            if workload.writes:
                settle(files)
        self.samples.setdefault((server.name, workload.name), []).append(sample)
        say(f"  {workload.name:15} {server.name:18} {report.show_rate(workload, report.rate([sample])[0])}")

    def _serving(self, server, writes, read_only):
        return self._serving_files(server, self.images.files(server.image, writes), read_only)

    def _serving_files(self, server, files, read_only):
        return serving(self.processes, self.folder, server, self.programs[server.program], files[-1], read_only, files)

    def _leave_out(self, server, workloads, reason, is_failure=True):
        """Half a column would mislead, so what was measured before goes too."""
        for workload in workloads:
            self._left_out.add((server.name, workload.name))
            self.samples.pop((server.name, workload.name), None)
        self.failed |= is_failure
        self.note(f"{server.name} is left out of {', '.join(w.name for w in workloads)}: {reason}")

    def note(self, text):
        self.notes.append(text)
        say(f"note: {text}")

    def _report(self, facts, shown):
        for workload in self.workloads:
            rows = report.summary(workload, self.servers, self.samples)
            if rows:
                print(report.table(workload, rows))
        if self.conversions:
            self.conversions.report()
        if self.compactions:
            self.compactions.report()
        if self.kernel:
            self.kernel.report()
        for note in self.notes:
            print(f"- note: {note}")
        if self._settings.json:
            report.document(self._settings.json, facts, shown, self.workloads, self.servers, self.samples, self.notes,
                            self.conversions.results() if self.conversions else [], self.compactions.results() if self.compactions else [], self.kernel.results() if self.kernel else [])


def say(text):
    print(text, file=sys.stderr, flush=True)


def main():
    interrupts = Interrupts()
    folder = processes = bench = None
    try:
        settings = options.parse()
        with interrupts.held():
            folder = tempfile.mkdtemp(prefix="bm-bench-")
            processes = Processes(interrupts, folder)
        bench = Bench(settings, folder, processes)
        return bench.run()
    except (Failure, OSError) as e:
        say(f"tests/bench/run: {e}")
        return 1
    except Interrupted:
        say("interrupted")
        return 130
    finally:
        interrupts.ignore_from_now_on()
        if processes:
            processes.end_all()
        if bench:
            bench.images.close()
        if folder:
            shutil.rmtree(folder)
