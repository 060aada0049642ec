"""Runs in the guest: attaches the disk by each server in turn, puts the loads on the device and prints a line of JSON for each measurement."""

import hashlib
import json
import os
import subprocess
import sys
import time

from processes import cpu_seconds

DEVICE = "/dev/nbd9"
CONNECTIONS = 4
WARM_SECONDS = 8


def main():
    with open(sys.argv[1], encoding="utf-8") as text:
        plan = json.load(text)
    subprocess.run(["modprobe", "nbd"], check=True)
    os.makedirs("/run/bench", exist_ok=True)
    left_out = set()
    for number in range(plan["rounds"]):
        for road in plan["roads"][number % len(plan["roads"]):] + plan["roads"][:number % len(plan["roads"])]:
            if road["name"] not in left_out:
                try:
                    measure(plan, road, is_first=number == 0)
                except (OSError, subprocess.SubprocessError, ValueError) as e:
                    left_out.add(road["name"])
                    tell({"road": road["name"], "failed": str(e)})


def measure(plan, road, is_first):
    file = plan["files"][road["image"]]
    # Each one has bytes of its own to change.
    work = f"/run/bench/{road['name']}.{road['image']}"
    if not os.path.exists(work):
        subprocess.run(["cp", file, work], check=True)
    end, pid = ATTACH[road["program"]](plan["programs"], road, work)
    try:
        if is_first and digest_of(DEVICE) != plan["digest"]:
            raise ValueError("the device gives out other bytes than the image")
        for load in plan["loads"]:
            tell({"road": road["name"], "load": load["name"], **run(plan, load, pid)})
    finally:
        end()


def attach_blockmount(programs, road, work):
    program = programs["blockmount"]
    said = subprocess.run(
        [program, "attach", "--json", "--connections", str(CONNECTIONS), "--device", DEVICE, work], check=True, capture_output=True, text=True).stdout
    return lambda: subprocess.run([program, "detach", DEVICE], check=True, stdout=subprocess.DEVNULL), json.loads(said)["pid"]


def attach_qemu(programs, road, work):
    return attach_by_client(programs, [programs["qemu-nbd"], "-t", "-e", "0", "-f", road["image"], "-k", "/run/bench/socket", work])


def attach_nbdkit(programs, road, work):
    return attach_by_client(programs, [programs["nbdkit"], "-f", "-U", "/run/bench/socket", "file", work])


def attach_by_client(programs, arguments):
    if os.path.exists("/run/bench/socket"):
        os.remove("/run/bench/socket")
    server = subprocess.Popen(arguments, stdin=subprocess.DEVNULL)
    while not os.path.exists("/run/bench/socket"):
        if server.poll() is not None:
            raise ValueError(f"{arguments[0]} exited {server.returncode}")
        time.sleep(0.1)
    try:
        subprocess.run(
            [programs["nbd-client"], "-unix", "/run/bench/socket", DEVICE, "-C", str(CONNECTIONS)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except subprocess.SubprocessError:
        server.kill()
        server.wait()
        raise

    def end():
        subprocess.run([programs["nbd-client"], "-d", DEVICE], check=True, stdout=subprocess.DEVNULL)
        server.terminate()
        server.wait()

    return end, server.pid


ATTACH = {"blockmount": attach_blockmount, "qemu-nbd": attach_qemu, "nbdkit": attach_nbdkit}


def run(plan, load, pid):
    """fio on the device, after a time that is not counted, as a runtime compiles what runs often. Processor time is divided by what the device has completed meanwhile."""
    arguments = [
        plan["programs"]["fio"], "--name=load", f"--filename={DEVICE}", f"--rw={load['pattern']}", f"--bs={load['size']}", f"--numjobs={load['jobs']}", f"--iodepth={load['depth']}",
        "--ioengine=libaio", "--direct=1", "--time_based", "--group_reporting", "--output-format=json", "--randrepeat=0"]
    arguments += [f"--fsync={load['fsync']}"] if load["fsync"] else []
    subprocess.run([*arguments, f"--runtime={WARM_SECONDS}"], check=True, stdout=subprocess.DEVNULL)
    before = completed(), cpu_seconds(pid)
    text = subprocess.run([*arguments, f"--runtime={plan['seconds']}"], check=True, capture_output=True, text=True).stdout
    after = completed(), cpu_seconds(pid)
    job = json.loads(text[text.index("{"):])["jobs"][0]
    side = job["write" if "write" in load["pattern"] else "read"]
    if side["total_ios"] == 0 or after[0] == before[0]:
        raise ValueError(f"fio did nothing for {load['name']}")
    share = side["total_ios"] / (after[0] - before[0])
    return {"operations": side["total_ios"], "size": load["size"], "seconds": side["runtime"] / 1000, "cpu": (after[1] - before[1]) * share}


def completed():
    """Reads and writes that the device has answered (Documentation/block/stat)."""
    with open(f"/sys/block/{os.path.basename(DEVICE)}/stat", encoding="ascii") as stat:
        fields = stat.read().split()
    return int(fields[0]) + int(fields[4])


def digest_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as device:
        while block := device.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def tell(what):
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main()
