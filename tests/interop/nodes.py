#!/usr/bin/env python3
"""Real `quorate` processes on loopback: one, or a cluster of several.

As a program, `nodes.py take kill|stop FOLDER` takes away the node of that cluster which serves most requests just now:
`kill` is SIGKILL, `stop` is SIGSTOP for 7 s. It prints one line as soon as the node is away.
"""

import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

READY_S = 20
PORTS = (15_000, 32_000)
HANDING_OUT = threading.Lock()
handed_out = set()


def free_ports(count):
    """Loopback ports that nobody listens on, each handed out once. They lie below those that the kernel gives to outgoing
    connections, so that no client takes one before its node has bound it."""
    ports = []
    with HANDING_OUT:
        while len(ports) < count:
            port = random.randrange(*PORTS)
            with socket.socket() as probe:
                if port not in handed_out and probe.connect_ex(("127.0.0.1", port)):
                    handed_out.add(port)
                    ports.append(port)
    return ports


class Node:
    """One process. `ready` waits for its ready line."""

    def __init__(self, binary, folder, number, ports, peers):
        self.number, self.folder, self.process = number, folder, None
        self.seata, self.admin, self.peer = (f"127.0.0.1:{port}" for port in ports)
        self.command = [str(binary), "server", "--listen", self.seata, "--admin-listen", self.admin, "--peer-listen", self.peer,
                        "--advertise", self.seata, "--data-dir", str(folder / "data")]
        if peers:
            self.command += ["--node-id", str(number), "--peers", peers]

    def start(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        out = open(self.folder / "stdout", "w", encoding="utf-8")
        log = open(self.folder / "log", "a", encoding="utf-8")
        self.process = subprocess.Popen(self.command, stdout=out, stderr=log)

    def ready(self):
        deadline = time.monotonic() + READY_S
        while not (self.folder / "stdout").read_text(encoding="utf-8").startswith("ready "):
            if self.process.poll() is not None:
                raise SystemExit(f"interop: node {self.number} ended with {self.process.returncode}, see {self.folder / 'log'}")
            if time.monotonic() > deadline:
                raise SystemExit(f"interop: node {self.number} is not ready after {READY_S} s, see {self.folder / 'log'}")
            time.sleep(0.02)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise SystemExit(f"interop: node {self.number} did not stop within 15 s of SIGTERM")


class Cluster:
    """All nodes started together; a `with` block around them."""

    def __init__(self, binary, folder, count):
        self.count, self.folder = count, folder
        ports = free_ports(3 * count)
        trios = [ports[3 * i:3 * i + 3] for i in range(count)]
        peers = ",".join(f"{i + 1}=127.0.0.1:{trio[2]}" for i, trio in enumerate(trios)) if count > 1 else None
        self.nodes = [Node(binary, folder / f"n{i + 1}", i + 1, trio, peers) for i, trio in enumerate(trios)]

    def seata(self):
        return ",".join(node.seata for node in self.nodes)

    def admin(self):
        return ",".join(node.admin for node in self.nodes)

    def __enter__(self):
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.ready()
        note = [{"pid": node.process.pid, "admin": node.admin} for node in self.nodes]
        (self.folder / "nodes.json").write_text(json.dumps(note), encoding="utf-8")
        return self

    def __exit__(self, *_):
        for node in self.nodes:
            node.stop()


def requests_served(admin):
    """How many client requests a node has received, by its own metrics."""
    with urllib.request.urlopen(f"http://{admin}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return sum(float(n) for n in re.findall(r"^quorate_requests_total(?:\{[^}]*\})? ([0-9.e+]+)$", text, re.M))


def take(what, folder):
    """Ends or stops the node that served most requests within half a second."""
    nodes = json.loads((pathlib.Path(folder) / "nodes.json").read_text(encoding="utf-8"))
    before = [requests_served(node["admin"]) for node in nodes]
    time.sleep(0.5)
    served = [requests_served(node["admin"]) - old for node, old in zip(nodes, before)]
    busiest = nodes[max(range(len(nodes)), key=served.__getitem__)]
    os.kill(busiest["pid"], signal.SIGKILL if what == "kill" else signal.SIGSTOP)
    print(f"{what} of the node at {busiest['admin']}, requests in half a second: {served}", flush=True)
    if what == "stop":
        time.sleep(7)
        os.kill(busiest["pid"], signal.SIGCONT)


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] != "take" or sys.argv[2] not in ("kill", "stop"):
        sys.exit("usage: nodes.py take kill|stop FOLDER")
    take(sys.argv[2], sys.argv[3])
