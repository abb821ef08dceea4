"""A MariaDB of our own, in a folder of its own, on a free loopback port; gone when the tests end."""

import os
import shutil
import subprocess
import time

import nodes


class Database:
    """Starts on entering, stops on leaving. The clients' user is `kit` with password `kit`."""

    def __init__(self, folder):
        self.folder, self.process, self.port = folder, None, nodes.free_ports(1)[0]

    def jdbc(self):
        """As the Java kit takes it."""
        return f"jdbc:mysql://127.0.0.1:{self.port}"

    def dsn(self):
        """As the Go kit takes it."""
        return f"kit:kit@tcp(127.0.0.1:{self.port})/"

    def plain(self):
        """As the Python kit takes it."""
        return f"kit:kit@127.0.0.1:{self.port}"

    def __enter__(self):
        if not shutil.which("mariadbd"):
            raise SystemExit("interop: mariadbd is missing: `apt-get install mariadb-server` (make interop does it)")
        self.folder.mkdir(parents=True)
        data, socket = self.folder / "data", self.folder / "s.sock"
        me = ["--user=root"] if os.getuid() == 0 else []
        subprocess.run(["mariadb-install-db", "--no-defaults", f"--datadir={data}", *me,
                        "--auth-root-authentication-method=normal"], check=True, stdout=subprocess.DEVNULL)
        log = open(self.folder / "log", "w", encoding="utf-8")
        self.process = subprocess.Popen(
            ["mariadbd", "--no-defaults", *me, f"--datadir={data}", f"--socket={socket}", "--bind-address=127.0.0.1",
             f"--port={self.port}", "--max-connections=300", "--innodb-flush-log-at-trx-commit=2"], stdout=log, stderr=log)
        grant = ("drop user if exists ''@'localhost'; create user 'kit'@'%' identified by 'kit'; "
                 "grant all on *.* to 'kit'@'%'")
        deadline = time.monotonic() + 60
        while subprocess.run(["mariadb", "-S", socket, "-u", "root", "-e", grant], check=False,
                             stderr=subprocess.DEVNULL).returncode:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"interop: MariaDB did not start, see {self.folder / 'log'}")
            time.sleep(0.2)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)
