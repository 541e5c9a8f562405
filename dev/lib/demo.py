"""What dev/demo does once everything is provisioned: database, servers, link."""

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import threading
import time

import requests

import databases
import processes
from databases import DEV, LOGS, MODULE, ROOT, DatabaseError
from demo_options import DemoError, check_ports, parse
from furnish import furnish
from hass_server import HomeAssistantError, HomeAssistantServer
from odoo_rpc import OdooError, OdooRpc

INSTANCE_NAME = "My Home"
LOGIN = PASSWORD = "admin"
BEGAN = time.monotonic()


def say(message):
    print(f"[demo {time.monotonic() - BEGAN:5.1f}s] {message}", flush=True)


class Demo:
    def __init__(self, options):
        self.options = options
        self.db = options.db
        self.url = f"http://127.0.0.1:{options.http_port}"
        self.log = LOGS / f"odoo-{self.db}.log"
        self.memo_path = DEV / f"demo-{self.db}.json"
        self.odoo = None
        self.rpc = OdooRpc(self.url)
        self.hass = HomeAssistantServer(
            DEV / "ha" / "demo", options.ha_port, frontend=True
        )
        self.hass_error = None

    # -- Home Assistant -----------------------------------------------------

    def start_hass(self):
        say(f"starting Home Assistant on {self.hass.url}")
        try:
            self.hass.start()
            furnish(self.hass)
            say("Home Assistant is running")
        except Exception as error:
            self.hass_error = error

    # -- database -----------------------------------------------------------

    def read_memo(self):
        try:
            return json.loads(self.memo_path.read_text())
        except (OSError, ValueError):
            return {}

    def write_memo(self, **values):
        memo = {**self.read_memo(), **values}
        temporary = self.memo_path.with_suffix(".new")
        temporary.write_text(json.dumps(memo))
        temporary.replace(self.memo_path)

    def prepare_database(self):
        code = databases.content_hash()
        if not databases.exists(self.db):
            template = databases.dependencies_template(say)
            databases.clone(template, self.db)
        if not databases.is_installed(self.db):
            say(f"installing the addon into database {self.db}")
            action = "-i"
        elif self.read_memo().get("code") != code:
            say(f"upgrading the addon in database {self.db}: its code has changed")
            action = "-u"
        else:
            return
        log = LOGS / f"install-{self.db}.log"
        databases.odoo("-d", self.db, action, MODULE, "--stop-after-init", log=log)
        if not databases.is_installed(self.db):
            raise DemoError(f"the addon did not get installed; see {log}")
        self.write_memo(code=code)

    # -- Odoo ---------------------------------------------------------------

    def start_odoo(self):
        say(f"starting Odoo on {self.url}")
        with open(self.log, "w") as output:
            self.odoo = subprocess.Popen(
                [
                    os.environ["ODOO_HA_DEV"],
                    *("-d", self.db, "--http-port", str(self.options.http_port)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        processes.record(self.odoo.pid, "odoo")
        self.wait_for_odoo(60.0)

    def wait_for_odoo(self, timeout):
        deadline = time.monotonic() + timeout
        while True:
            if self.odoo.poll() is not None:
                raise DemoError(f"Odoo ended; see {self.log}")
            try:
                self.rpc.log_in(self.db, LOGIN, PASSWORD)
                return
            except requests.RequestException as error:
                if time.monotonic() > deadline:
                    raise DemoError(f"Odoo does not answer; see {self.log}") from error
            except OdooError as error:
                raise DemoError(
                    f"{error}: {LOGIN}/{PASSWORD} cannot log into database {self.db}; "
                    "choose another with --db NAME"
                ) from error
            time.sleep(0.1)

    def call(self, method, *args, **kwargs):
        return self.rpc.call("ha.instance", method, *args, **kwargs)

    # -- the instance -------------------------------------------------------

    def ensure_instance(self):
        """Create the instance, or write what has changed since the last run."""
        values = {"api_url": self.hass.url, "api_token": self.hass.token}
        known = hashlib.sha256(json.dumps(values).encode()).hexdigest()
        found = self.call(
            "search_read",
            [("name", "=", INSTANCE_NAME)],
            ["active"],
            limit=1,
            context={"active_test": False},
        )
        if not found:
            say(f"creating the instance {INSTANCE_NAME}")
            (instance,) = self.call("create", [{"name": INSTANCE_NAME, **values}])
        else:
            instance = found[0]["id"]
            if self.read_memo().get("instance") != known or not found[0]["active"]:
                say(f"telling the instance {INSTANCE_NAME} its URL and token")
                self.call("write", [instance], {**values, "active": True})
        self.write_memo(instance=known)
        return instance

    def wait_connected(self, instance, timeout=60.0):
        say("waiting for the link")
        fields = ["connection_state", "connection_message", "entity_count"]
        deadline = time.monotonic() + timeout
        while True:
            (row,) = self.call("read", [instance], fields)
            if row["connection_state"] == "connected":
                return row["entity_count"]
            if self.odoo.poll() is not None:
                raise DemoError(f"Odoo ended; see {self.log}")
            if time.monotonic() > deadline:
                raise DemoError(
                    f"not connected after {timeout:.0f} s: {row['connection_state']}, "
                    f"{row['connection_message'] or 'no message'}; see {self.log}"
                )
            time.sleep(0.25)

    # -- all of it ----------------------------------------------------------

    def run(self):
        check_ports(self.options)
        hass_starts = threading.Thread(target=self.start_hass, daemon=True)
        hass_starts.start()
        self.prepare_database()
        self.start_odoo()
        hass_starts.join()
        if self.hass_error:
            raise self.hass_error
        entities = self.wait_connected(self.ensure_instance())
        say(f"connected, {entities} entities")
        print(
            f"""
  Odoo            {self.url}/odoo    {LOGIN} / {PASSWORD}
  Home Assistant  {self.hass.url}    {self.hass.username} / {self.hass.password}
  database        {self.db}  (shell: {ROOT}/dev/odoo shell -d {self.db} --no-http)
  logs            {self.log}
                  {self.hass.log_file}

  Ctrl-C stops Odoo and Home Assistant; dev/stop ends the database server too.
""",
            flush=True,
        )
        while True:
            if self.odoo.poll() is not None:
                raise DemoError(f"Odoo ended; see {self.log}")
            if not self.hass.is_kept:
                raise DemoError(f"Home Assistant ended; see {self.hass.log_file}")
            time.sleep(0.5)

    def stop(self):
        if self.odoo is not None:
            say("stopping Odoo")
            processes.stop(self.odoo.pid, "odoo", 30.0)
            self.odoo.wait()
        say("stopping Home Assistant")
        self.hass.stop()
        say("stopped")


def main():
    options = parse()
    processes.end_as_with_ctrl_c()
    LOGS.mkdir(parents=True, exist_ok=True)
    lock = open(DEV / "demo.lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit("[demo] dev/demo runs already in this clone; dev/stop ends it")
    processes.record(os.getpid(), "demo")
    demo = Demo(options)
    code = 0
    try:
        demo.run()
    except KeyboardInterrupt:
        print(flush=True)
    except (DemoError, DatabaseError, HomeAssistantError) as error:
        print(f"[demo] ERROR: {error}", file=sys.stderr, flush=True)
        code = 1
    except OdooError as error:
        print(f"[demo] ERROR from Odoo: {error}", file=sys.stderr, flush=True)
        code = 1
    finally:
        processes.ignore_signals()
        demo.stop()
        processes.forget(os.getpid(), "demo")
    sys.exit(code)


if __name__ == "__main__":
    main()
