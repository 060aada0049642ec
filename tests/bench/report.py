"""What the numbers are printed as: the machine, one Markdown table per workload, and the same as JSON."""

import json
import os
import platform
import statistics
import subprocess

MIB = 1 << 20
REFERENCE = "nbdkit-raw"


def environment(programs, folder):
    """Facts that a reader needs to judge the numbers, in the order they are printed."""
    facts = {
        "kernel": f"{platform.release()} {platform.machine()}",
        "cores": str(len(os.sched_getaffinity(0))),
        "processor": _first_value("/proc/cpuinfo", "model name") or "unknown",
        "memory": _first_value("/proc/meminfo", "MemTotal") or "unknown",
        "load_average": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "temp_folder": f"{os.path.dirname(folder)} ({_output(['stat', '-f', '-c', '%T', folder])})",
    }
    for name, path in programs.items():
        if name == "nbdload":
            continue
        version = _version(name, _output([path, "--version"]))
        # Of this program a machine may have several builds of one version.
        facts[name] = f"{version}, {path}" if name == "blockmount" else version
    return facts


def rate(samples):
    """The samples' rates, in operations a second for small operations, MiB a second for others."""
    return [s.operations / s.seconds * (1 if s.size < MIB // 4 else s.size / MIB) for s in samples]


def show_rate(workload, value):
    if workload.size >= MIB // 4:
        return f"{value:,.0f} MiB/s"
    return f"{value / 1000:,.1f} k/s"


def summary(workload, servers, samples):
    """One row per server that was measured: medians, spread and ratios of medians."""
    rows = []
    for server in servers:
        measured = samples.get((server.name, workload.name))
        if measured:
            rates = rate(measured)
            rows.append({
                "server": server,
                "runs": len(measured),
                "median": statistics.median(rates),
                "lowest": min(rates),
                "highest": max(rates),
                "cpu_step_us": statistics.median(1e6 / os.sysconf("SC_CLK_TCK") / s.operations for s in measured),
                "cpu_us": statistics.median(s.cpu / s.operations * 1e6 for s in measured),
            })
    nbdkit = next((r["median"] for r in rows if r["server"].name == REFERENCE), None)
    qemu = max((r["median"] for r in rows if r["server"].program == "qemu-nbd"), default=None)
    for row in rows:
        # What qemu makes of the same file, not of a simpler one.
        same = max((r["median"] for r in rows if r["server"].program == "qemu-nbd" and r["server"].image == row["server"].image), default=None)
        row["to_same"] = row["median"] / same if same else None
        row["to_nbdkit"] = row["median"] / nbdkit if nbdkit else None
        row["to_qemu"] = row["median"] / qemu if qemu else None
    return rows


def table(workload, rows):
    operation = f"{workload.size // 1024} KiB" if workload.size < MIB else f"{workload.size // MIB} MiB"
    lines = [
        f"### {workload.name}: {workload.title}",
        "",
        f"| server | runs | median | lowest to highest | to nbdkit file | to qemu-nbd's best | to its best on this file | server CPU per {operation} |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        spread = f"{show_rate(workload, row['lowest'])} to {show_rate(workload, row['highest'])}"
        lines.append(
            f"| {row['server'].title} | {row['runs']} | {show_rate(workload, row['median'])} | {spread} "
            f"| {_ratio(row['to_nbdkit'])} | {_ratio(row['to_qemu'])} | {_ratio(row['to_same'])} | {_cpu(row)} |")
    return "\n".join(lines) + "\n"


def document(path, facts, settings, workloads, servers, samples, notes, conversions, compactions, kernel):
    """Writes everything measured; rates in operations or MiB a second as in the tables, times in seconds unless named."""
    results = []
    for workload in workloads:
        for row in summary(workload, servers, samples):
            server = row["server"].name
            raw = [vars(s) | {"rate": r} for s, r in zip(samples[server, workload.name], rate(samples[server, workload.name]))]
            results.append(row | {
                "server": server,
                "workload": workload.name,
                "rate_unit": "MiB/s" if workload.size >= MIB // 4 else "operations/s",
                "samples": raw,
            })
    with open(path, "w", encoding="utf-8") as out:
        json.dump({"environment": facts, "settings": settings, "results": results, "conversions": conversions, "compactions": compactions, "kernel": kernel, "notes": notes}, out, indent=2)
        out.write("\n")


def _version(name, line):
    """Without the program's name or path, which some print and some do not."""
    words = line.removeprefix(f"{name}-").split()
    return line.partition(" version ")[2] or " ".join(word for word in words if os.path.basename(word) != name)


def _cpu(row):
    # The kernel counts in ticks, mostly of 10 ms: less cannot be told from nothing.
    return f"{row['cpu_us']:,.1f} µs" if row["cpu_us"] > 0 else f"< {row['cpu_step_us']:,.1f} µs"


def _ratio(value):
    return f"{value:.2f}" if value else "n/a"


def _first_value(path, key):
    with open(path, encoding="utf-8", errors="replace") as lines:
        return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), None)


def _output(arguments):
    """The first line that a program prints, or why there is none."""
    try:
        done = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as e:
        return f"(unknown: {e})"
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0] if lines else "(unknown)"
