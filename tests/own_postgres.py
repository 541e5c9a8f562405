"""A PostgreSQL server of a test's own, to be restarted while others go on working."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

USER = "odoo"


class OwnPostgres:
    """Runs inside ``with``; listens on a socket in ``folder`` only."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="oha-pg-", dir="/tmp"))
        self._data = self.folder / "data"
        self._account = []
        if os.getuid() == 0:
            # PostgreSQL refuses to run as root.
            shutil.chown(self.folder, "nobody")
            self._account = [
                "setpriv",
                "--reuid=nobody",
                "--clear-groups",
                f"--regid={pwd.getpwnam('nobody').pw_gid}",
                "--inh-caps=+dac_override",
                "--ambient-caps=+dac_override",
                "--securebits=+no_setuid_fixup",
            ]

    def __enter__(self):
        self._run("initdb", "-D", self._data, "-U", USER, "-A", "trust", "-N")
        with (self._data / "postgresql.conf").open("a") as conf:
            conf.write(
                f"listen_addresses = ''\nfsync = off\n"
                f"unix_socket_directories = '{self.folder}'\n"
            )
        self.start()
        return self

    def __exit__(self, *exc_info):
        if (self._data / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def options(self):
        """Odoo's options to work on it."""
        return [f"--db_host={self.folder}", f"--db_user={USER}"]

    def clone(self, template, name):
        """Make a database like one of the server that the environment names."""
        address = ["-h", str(self.folder), "-U", USER]
        subprocess.run(["createdb", *address, name], check=True)
        dump = subprocess.Popen(["pg_dump", template], stdout=subprocess.PIPE)
        subprocess.run(
            ["psql", *address, "-q", "-o", os.devnull, name],
            stdin=dump.stdout,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        if dump.wait():
            raise RuntimeError(f"pg_dump {template} failed")

    def start(self):
        """Returns when it accepts sessions."""
        self._control("start")

    def stop(self):
        """At once, cutting all sessions, as a crash does."""
        self._control("stop", "-m", "immediate")

    def restart(self):
        self._control("restart", "-m", "immediate")

    def _control(self, action, *arguments):
        log = self._data / "server.log"
        self._run("pg_ctl", "-D", self._data, "-w", "-l", log, *arguments, action)

    def _run(self, program, *arguments):
        subprocess.run(
            [*self._account, shutil.which(program), *map(str, arguments)],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )
