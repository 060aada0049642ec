"""Starts programs and ends them by process id, so that nothing is left behind whichever way the benchmark ends."""

import contextlib
import hashlib
import os
import select
import signal
import subprocess
import time


class Failure(Exception):
    """Something that was needed did not work; the text is one sentence for the reader."""


class Interrupted(Exception):
    """Ctrl+C, SIGTERM or SIGHUP arrived."""


class Interrupts:
    """Turns signals into Interrupted, except while work is held that must not stop halfway."""

    def __init__(self):
        self._held = 0
        self._pending = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._arrived)

    def _arrived(self, number, frame):
        self._pending = True
        if self._held == 0:
            raise Interrupted

    @contextlib.contextmanager
    def held(self):
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
        if self._held == 0 and self._pending:
            raise Interrupted

    def ignore_from_now_on(self):
        self._held += 1


class Processes:
    """Every program runs in a session of its own: Ctrl+C on the terminal reaches this script only, which ends the rest."""

    def __init__(self, interrupts, folder):
        self._interrupts = interrupts
        self._folder = folder
        self._running = []

    def start(self, arguments, log, piped=False):
        """Starts a program whose output goes to the file log, or with piped only its error output; end() it."""
        with self._interrupts.held(), open(log, "wb") as output:
            try:
                process = subprocess.Popen(
                    arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if piped else output,
                    stderr=output, cwd=self._folder, start_new_session=True)
            except OSError as e:
                raise Failure(f"{arguments[0]} did not start: {e.strerror}") from e
            self._running.append(process)
        return process

    def run(self, arguments, seconds):
        """Runs a program to its end within the deadline; returns the seconds it took."""
        log = os.path.join(self._folder, "run.log")
        begin = time.monotonic()
        process = self.start(arguments, log)
        try:
            # Popen.wait with a timeout sleeps up to 50 ms at a time, which is as long as a short copy takes.
            pidfd = os.pidfd_open(process.pid)
            try:
                _wait_readable(pidfd, begin + seconds, arguments)
            finally:
                os.close(pidfd)
            took = time.monotonic() - begin
            _require_success(process.wait(), arguments, log)
        finally:
            self.end(process)
        return took

    def output(self, arguments, seconds):
        """Runs a program to its end within the deadline; returns what it printed."""
        log = os.path.join(self._folder, "run.log")
        self.run(arguments, seconds)
        with open(log, encoding="utf-8", errors="replace") as text:
            return text.read()

    def sha256(self, arguments, seconds):
        """Runs a program to its end within the deadline; returns the hash of its output."""
        log = os.path.join(self._folder, "run.log")
        deadline = time.monotonic() + seconds
        process = self.start(arguments, log, piped=True)
        digest = hashlib.sha256()
        try:
            with process.stdout as output:
                _wait_readable(output, deadline, arguments)
                while block := os.read(output.fileno(), 1 << 20):
                    digest.update(block)
                    _wait_readable(output, deadline, arguments)
            _require_success(process.wait(), arguments, log)
        finally:
            self.end(process)
        return digest.hexdigest()

    def end(self, process, patience=10):
        """SIGTERM, and SIGKILL when the deadline (seconds) passes; returns the exit status."""
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=patience)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process in self._running:
            self._running.remove(process)
        return process.returncode

    def end_all(self):
        for process in list(self._running):
            self.end(process, 30)


def _wait_readable(descriptor, deadline, arguments):
    if not select.select([descriptor], [], [], max(0, deadline - time.monotonic()))[0]:
        raise Failure(f"{os.path.basename(arguments[0])} did not end in the time it was given")


def _require_success(status, arguments, log):
    if status != 0:
        raise Failure(f"{os.path.basename(arguments[0])} exited {status}: {tail(log)}")


def tail(log, length=300):
    """The end of a log as one line."""
    with open(log, encoding="utf-8", errors="replace") as text:
        return " ".join(text.read().split())[-length:] or "it printed nothing"


def cpu_seconds(pid):
    """User and system time of a process with all its threads so far (proc(5), stat, fields 14 and 15)."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
        # The second field is the program's name in parentheses and may hold blanks.
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
