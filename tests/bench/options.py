"""The command line, and where the programs are."""

import argparse
import glob
import os
import random
import re
import shutil
import subprocess

from compactions import COMPACTIONS
from conversions import CONVERSIONS
from kernel import LOADS
from servers import SERVERS
from workloads import WORKLOADS

MIB = 1 << 20
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
PACKAGES = {"qemu-nbd": "qemu-utils", "qemu-img": "qemu-utils", "qemu-io": "qemu-utils", "nbdkit": "nbdkit", "nbdcopy": "libnbd-bin", "fio": "fio", "nbd-client": "nbd-client"}
PUBLISHED = "src/BlockMount.Host/bin/Release/net10.0/**/publish/blockmount"


def parse():
    parser = argparse.ArgumentParser(
        prog="tests/bench/run",
        description="Serves the same data with blockmount, qemu-nbd and nbdkit in turn and prints how fast each is; "
                    "tests/bench/README.md says what the numbers mean.",
        epilog="Example: tests/bench/run --rounds 3 --seconds 2 --only blockmount-raw,nbdkit-raw --workloads randread-4x32")
    parser.add_argument("--rounds", type=_count, default=5, metavar="N", help="how often every server is measured (default 5)")
    parser.add_argument("--seconds", type=_seconds, default=5.0, metavar="S",
                        help="run time of fio in each measurement (default 5)")
    parser.add_argument("--size", type=_size, default=1 << 30, metavar="SIZE", help="size of the disk, such as 256M (default 1G)")
    parser.add_argument("--only", type=_names("server", SERVERS), default=SERVERS, metavar="SERVER,…",
                        help="these servers: " + ", ".join(s.name for s in SERVERS))
    parser.add_argument("--workloads", type=_names("workload", WORKLOADS), default=WORKLOADS, metavar="NAME,…",
                        help="these workloads: " + ", ".join(w.name for w in WORKLOADS))
    parser.add_argument("--conversions", type=_names("conversion", CONVERSIONS), default=CONVERSIONS, metavar="NAME,…",
                        help="these conversions, or none: " + ", ".join(c.name for c in CONVERSIONS))
    parser.add_argument("--compactions", type=_names("compaction", COMPACTIONS), default=COMPACTIONS, metavar="NAME,…",
                        help="these compactions, or none: " + ", ".join(c.name for c in COMPACTIONS))
    parser.add_argument("--kernel", type=_names("kernel load", LOADS), default=LOADS, metavar="NAME,…",
                        help="these loads on /dev/nbdN in a guest, or none: " + ", ".join(load.name for load in LOADS))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31), metavar="N",
                        help="seed of the order within the rounds and of the chain's layout (default random, printed)")
    parser.add_argument("--json", metavar="FILE", help="write every measurement to FILE too")
    parser.add_argument("--program", metavar="PATH", type=_program, default=os.environ.get("BLOCKMOUNT") or None,
                        help="the blockmount to measure (default $BLOCKMOUNT, else the one on PATH, else the published build)")
    return parser.parse_args()


def find_programs(given):
    """Path by name of what is installed, and one sentence for each program that is missing."""
    found = {name: shutil.which(name) for name in PACKAGES}
    blockmount = given or shutil.which("blockmount") or _published()
    missing = {name: f"{name} is missing; install the package {PACKAGES[name]}" for name, path in found.items() if not path}
    if not blockmount:
        missing["blockmount"] = "blockmount is neither on PATH nor published; run packaging/install or name it with --program"
    if not shutil.which("cc"):
        missing["nbdload"] = "the load client nbdload.c is not built; install the package gcc"
    return {name: path for name, path in {"blockmount": blockmount, **found}.items() if path}, missing


def build_load(folder):
    """Builds the lean client; its path, or None when there is no compiler."""
    compiler = shutil.which("cc")
    if not compiler:
        return None
    path = os.path.join(folder, "nbdload")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "nbdload.c")
    subprocess.run([compiler, "-O2", "-pthread", "-o", path, source], check=True)
    return path


def _published():
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    builds = glob.glob(os.path.join(root, PUBLISHED), recursive=True)
    return os.path.abspath(max(builds, key=os.path.getmtime)) if builds else None


def _program(text):
    found = shutil.which(text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text} is not a program that can be run")
    return os.path.abspath(found)


def _count(text):
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1")
    return int(text)


def _seconds(text):
    if not re.fullmatch(r"\d+(\.\d+)?", text) or not 0.1 <= float(text) <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not a time from 0.1 to 3600 seconds")
    return float(text)


def _size(text):
    parts = re.fullmatch(r"(\d+)([KMG]?)(iB|B)?", text, re.IGNORECASE)
    size = int(parts[1]) * UNITS[parts[2].upper()] if parts else 0
    if size < 16 * MIB or size % MIB != 0:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of MiB from 16M")
    return size


def _names(kind, known):
    def choose(text):
        if kind != "server" and text == "none":
            return []
        wanted = [name for name in text.split(",") if name]
        for name in wanted:
            if name not in [k.name for k in known]:
                raise argparse.ArgumentTypeError(f"{name} is no {kind}; there are {', '.join(k.name for k in known)}")
        if not wanted:
            raise argparse.ArgumentTypeError(f"no {kind} is named; there are {', '.join(k.name for k in known)}")
        return [k for k in known if k.name in wanted]
    return choose
