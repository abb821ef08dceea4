#!/usr/bin/env python3
"""How soon fresh nodes serve, and what they hold then: what `make ready` runs.

Starts one real `quorate` node on an empty folder, then three together, several times each, and prints for each start the
time from the start of the first process to the ready line of each node, and the memory (VmRSS) that each holds a second
after the last of them. Everything lives in a temporary folder and on loopback.
"""

import argparse
import pathlib
import re
import subprocess
import tempfile
import threading
import time

import nodes


def start(binary, folder, count):
    """Milliseconds to the ready line and resident kilobytes, of each node."""
    cluster = nodes.Cluster(binary, folder, count)
    took_ms = [None] * count

    def wait(place):
        out = cluster.nodes[place].process.stdout
        if out.readline().startswith("ready "):
            took_ms[place] = (time.monotonic() - began) * 1000
        out.read()

    for node in cluster.nodes:
        node.folder.mkdir(parents=True)
    began = time.monotonic()
    for node in cluster.nodes:
        node.process = subprocess.Popen(node.command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    readers = [threading.Thread(target=wait, args=(place,), daemon=True) for place in range(count)]
    try:
        for reader in readers:
            reader.start()
        while any(took is None for took in took_ms):
            if time.monotonic() - began > nodes.READY_S or any(node.process.poll() is not None for node in cluster.nodes):
                raise SystemExit(f"ready: not all of {count} nodes are ready")
            time.sleep(0.02)
        time.sleep(1)
        return took_ms, [resident_kb(node.process.pid) for node in cluster.nodes]
    finally:
        for node in cluster.nodes:
            node.stop()


def resident_kb(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=pathlib.Path, default=pathlib.Path("target/release/quorate"))
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    for count in (1, 3):
        for turn in range(options.times):
            with tempfile.TemporaryDirectory(prefix="quorate-ready-") as folder:
                took_ms, held_kb = start(options.binary.resolve(), pathlib.Path(folder) / f"{turn}", count)
            took, held = (" ".join(f"{figure:.0f}" for figure in figures) for figures in (took_ms, held_kb))
            print(f"nodes={count} ready_ms={took} resident_kb={held}", flush=True)


if __name__ == "__main__":
    main()
