"""Databases of the clone: made once as a template, then cloned in a moment.

Runs with what dev/lib/env.sh exports: the PostgreSQL programs on PATH, PGHOST …,
and ODOO_HA_DEV, the dev/odoo command.
"""

import ast
import contextlib
import fcntl
import hashlib
import os
import re
import subprocess
from pathlib import Path

import processes

ROOT = Path(__file__).resolve().parents[2]
DEV = ROOT / ".dev"
LOGS = DEV / "log"
MODULE = "odoo_ha_addon"
TROUBLE = re.compile(r"^\S+ \S+ \d+ (WARNING|ERROR|CRITICAL) ")
NOT_CODE = {"dev", "tests", "docs", "node_modules", "__pycache__"}
# Attachments inside the database: a clone of it is then complete by itself.
STORE_IN_DATABASE = """
env["ir.config_parameter"].set_param("ir_attachment.location", "db")
env["ir.attachment"].force_storage()
env.cr.commit()
"""


class DatabaseError(Exception):
    """What a person can act on, instead of a traceback."""


def manifest():
    return ast.literal_eval((ROOT / "__manifest__.py").read_text())


def content_hash():
    """A hash of everything in the addon that an upgrade could load."""
    digest = hashlib.sha256()
    for folder, folders, files in os.walk(ROOT):
        folders[:] = sorted(
            f for f in folders if f not in NOT_CODE and not f.startswith(".")
        )
        for name in sorted(files):
            if name.endswith((".py", ".xml", ".csv", ".po", ".js", ".scss", ".css")):
                path = Path(folder, name)
                digest.update(str(path.relative_to(ROOT)).encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


@contextlib.contextmanager
def locked(name):
    with open(DEV / f"{name}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sql(statement, database="postgres"):
    """Rows of one statement, as lists of strings."""
    command = ["psql", "-XqAt", "-F", "\t", "-v", "ON_ERROR_STOP=1"]
    done = subprocess.run(
        [*command, "-d", database, "-c", statement], capture_output=True, text=True
    )
    if done.returncode:
        raise DatabaseError(f"psql: {done.stderr.strip()}")
    return [line.split("\t") for line in done.stdout.splitlines()]


def exists(database):
    return bool(sql(f"SELECT 1 FROM pg_database WHERE datname = '{database}'"))


def names(prefix):
    rows = sql("SELECT datname FROM pg_database ORDER BY 1")
    return [name for (name,) in rows if name.startswith(prefix)]


def is_installed(database, module=MODULE):
    found = sql("SELECT to_regclass('ir_module_module') IS NOT NULL", database)
    if found != [["t"]]:
        return False
    return bool(
        sql(
            "SELECT 1 FROM ir_module_module "
            f"WHERE name = '{module}' AND state = 'installed'",
            database,
        )
    )


def drop(database):
    subprocess.run(["dropdb", "--if-exists", "--force", database], check=True)


def clone(template, database):
    subprocess.run(["createdb", "-T", template, database], check=True)


def odoo(*args, log, stdin=None):
    """Run dev/odoo to its end, its output in a file; raise when it fails."""
    LOGS.mkdir(parents=True, exist_ok=True)
    with open(log, "w") as output:
        process = subprocess.Popen(
            [os.environ["ODOO_HA_DEV"], *args],
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        processes.record(process.pid, "odoo")
        try:
            process.communicate(stdin)
        except BaseException:
            processes.stop(process.pid, "odoo", 10.0)
            process.wait()
            raise
        finally:
            processes.forget(process.pid, "odoo")
    if process.returncode:
        tail = "\n".join(Path(log).read_text().splitlines()[-30:])
        raise DatabaseError(
            f"{tail}\ndev/odoo {' '.join(args)}: exit code {process.returncode}; "
            f"its log is {log}"
        )


def trouble_in(log):
    """The lines of a log at WARNING or above."""
    lines = Path(log).read_text(errors="replace").splitlines()
    return [line for line in lines if TROUBLE.match(line)]


def dependencies_template(say):
    """The name of a database with all that the addon needs, but without it."""
    depends = sorted({"base", "web", "bus", *manifest()["depends"]})
    key = "\n".join([*depends, os.environ["OHA_ODOO_SCRIPT"], STORE_IN_DATABASE])
    name = "oha_base_" + hashlib.sha256(key.encode()).hexdigest()[:10]
    with locked("template"):
        if exists(name):
            return name
        say(f"making the template database {name} ({', '.join(depends)})")
        draft = f"{name}_draft"
        for old in names("oha_base_"):
            drop(old)
        odoo(
            *("-d", draft, "-i", ",".join(depends), "--stop-after-init"),
            log=LOGS / "template.log",
        )
        odoo(
            *("shell", "-d", draft, "--no-http"),
            log=LOGS / "template-shell.log",
            stdin=STORE_IN_DATABASE,
        )
        sql(f'ALTER DATABASE "{draft}" RENAME TO "{name}"')
    return name
