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
    """One process. `ready` waits for its ready line. With `join`, a peer port, it joins the cluster there. `settings` are
    keys of its configuration, two underscores for the dot."""

    def __init__(self, binary, folder, number, ports, peers=None, join=None, settings=None):
        self.number, self.folder, self.process = number, folder, None
        self.seata, self.admin, self.peer = (f"127.0.0.1:{port}" for port in ports)
        self.command = [str(binary), "server", "--listen", self.seata, "--admin-listen", self.admin, "--peer-listen", self.peer,
                        "--advertise", self.seata, "--data-dir", str(folder / "data")]
        if peers:
            self.command += ["--node-id", str(number), "--peers", peers]
        if join:
            self.command += ["--join", join]
        self.environment = {**os.environ, **{f"QUORATE_{key.upper()}": text for key, text in (settings or {}).items()}}

    def start(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        out = open(self.folder / "stdout", "w", encoding="utf-8")
        log = open(self.folder / "log", "a", encoding="utf-8")
        self.process = subprocess.Popen(self.command, stdout=out, stderr=log, env=self.environment)

    def ready(self):
        deadline = time.monotonic() + READY_S
        while not (self.folder / "stdout").read_text(encoding="utf-8").startswith("ready "):
            if self.process.poll() is not None:
                raise SystemExit(f"interop: node {self.number} ended with {self.process.returncode}, see {self.folder / 'log'}")
            if time.monotonic() > deadline:
                raise SystemExit(f"interop: node {self.number} is not ready after {READY_S} s, see {self.folder / 'log'}")
            time.sleep(0.02)

    def kill(self):
        self.process.kill()
        self.process.wait()

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

    def __init__(self, binary, folder, count, settings=None):
        self.count, self.folder = count, folder
        ports = free_ports(3 * count)
        trios = [ports[3 * i:3 * i + 3] for i in range(count)]
        peers = ",".join(f"{i + 1}=127.0.0.1:{trio[2]}" for i, trio in enumerate(trios)) if count > 1 else None
        self.nodes = [Node(binary, folder / f"n{i + 1}", i + 1, trio, peers, settings=settings) for i, trio in enumerate(trios)]

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


class Storm:
    """Takes nodes of a cluster away, one at a time, and brings them back: SIGKILL, SIGSTOP for up to 9 s, SIGTERM. The
    order is drawn from `seed`; between two strikes all are there, for up to `calm_s`. A `with` block around what must
    stand it; its end waits until all nodes are there."""

    def __init__(self, cluster, calm_s, seed):
        self.cluster, self.calm_s, self.dice, self.struck = cluster, calm_s, random.Random(seed), []
        self.failure, self.over = None, threading.Event()
        self.thread = threading.Thread(target=self.blow)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        if self.failure:
            raise self.failure

    def blow(self):
        try:
            while not self.over.wait(self.dice.uniform(self.calm_s / 4, self.calm_s)):
                self.strike(self.dice.choice(self.cluster.nodes), self.dice.choice(("kill", "stop", "restart")))
        except (Exception, SystemExit) as failure:
            self.failure = failure

    def strike(self, node, what):
        away_s = self.dice.uniform(0.5, 9)
        self.struck.append(f"{what} n{node.number} for {away_s:.1f} s")
        if what == "stop":
            node.process.send_signal(signal.SIGSTOP)
            time.sleep(away_s)
            node.process.send_signal(signal.SIGCONT)
            return
        node.kill() if what == "kill" else node.stop()
        time.sleep(away_s)
        node.start()
        node.ready()


def metrics(admin):
    """The metrics page of a node."""
    with urllib.request.urlopen(f"http://{admin}/metrics", timeout=5) as answer:
        return answer.read().decode()


def requests_served(admin):
    """How many client requests a node has received, by its own metrics."""
    return sum(float(n) for n in re.findall(r"^quorate_requests_total(?:\{[^}]*\})? ([0-9.e+]+)$", metrics(admin), re.M))


def logged(cluster, text):
    """Whether a node has written that into its log."""
    return any(text in (node.folder / "log").read_text(encoding="utf-8") for node in cluster.nodes)


def left_over(cluster, patience_s):
    """Sessions and row locks that are still there after so long, by node and metric; empty when nothing is. A node that
    shows neither of any group is left over too: an empty page proves nothing."""
    deadline = time.monotonic() + patience_s
    while True:
        left = {}
        for node in cluster.nodes:
            shown = re.findall(r'^(quorate_group_(?:sessions|row_locks))\{group="(\d+)"\} (\d+)$',
                               metrics(node.admin), re.M)
            if not shown:
                left[f"n{node.number} shows no sessions and row locks"] = 1
            for name, group, value in shown:
                if value != "0":
                    left[f"n{node.number} {name} {group}"] = int(value)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(1)


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
