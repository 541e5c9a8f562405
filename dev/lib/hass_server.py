"""A real Home Assistant as a test peer: started, onboarded, restarted, killed.

Needs the ``hass`` command (``HA_BIN``), requests and websocket-client; no Odoo.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import requests
import websocket

sys.path.insert(0, str(Path(__file__).resolve().parent))
import processes  # noqa: E402

RESTART_EXIT_CODE = 100
SECRETS_FILE = "dev_secrets.json"
USERNAME = "owner"
ONBOARDING = {
    "version": 4,
    "minor_version": 1,
    "key": "onboarding",
    "data": {"done": ["core_config"]},
}
CONFIGURATION = """\
homeassistant:
  name: My Home
  latitude: 52.37
  longitude: 4.9
  elevation: 0
  unit_system: metric
  time_zone: UTC
  currency: EUR
  country: NL
http:
  server_host: 127.0.0.1
  server_port: {port}
api:
websocket_api:
auth:
config:
{frontend}onboarding:
recorder:
  commit_interval: 1
history:
logbook:
demo:
logger:
  default: warning
"""


class HomeAssistantError(Exception):
    """Home Assistant did not start, or answered what it should not."""


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class HomeAssistantServer:
    """One Home Assistant on 127.0.0.1 with its demo devices.

    ``config_dir`` is made when it is not there, and may be used again later: its
    owner and its long-lived token stay.
    """

    def __init__(self, config_dir, port=0, *, hass_bin=None, frontend=False):
        self.config_dir = Path(config_dir).absolute()
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_file = self.config_dir / "home-assistant.log"
        self.username = USERNAME
        self.password = None
        self.token = None
        self._frontend = frontend
        self._hass = hass_bin or os.environ.get("HA_BIN") or "hass"
        self._process = None
        self._keeper = None
        self._stopping = threading.Event()
        self._spawned = threading.Event()

    # -- life ---------------------------------------------------------------

    def start(self, timeout=90.0):
        """Start it; return when it is RUNNING and ``token`` is valid."""
        if self.is_kept:
            raise HomeAssistantError(f"{self.url} runs already")
        self._write_configuration()
        self._stopping.clear()
        self._spawned.clear()
        self._keeper = threading.Thread(target=self._keep, name="hass", daemon=True)
        self._keeper.start()
        deadline = time.monotonic() + timeout
        try:
            self._wait(self._answers, deadline, "to answer")
            self._get_token()
            self._wait(self._is_running, deadline, "to be RUNNING")
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self, timeout=30.0):
        """End it in good order."""
        self._end(signal.SIGTERM, timeout)

    def kill(self):
        """End it at once, as a power cut would."""
        self._end(signal.SIGKILL, 5.0)

    def pause(self):
        """Freeze it: its sockets stay open, and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self.pid, signal.SIGCONT)

    def restart(self, timeout=90.0):
        """Restart it as its users do; return when it is RUNNING again."""
        before = self.pid
        deadline = time.monotonic() + timeout
        self.request_restart()
        self._wait(lambda: self.pid not in (None, before), deadline, "to go down")
        self._wait(self._answers, deadline, "to answer again")
        self._wait(self._is_running, deadline, "to be RUNNING again")

    def request_restart(self):
        """Ask for a restart and return; the call itself never gets an answer."""
        try:
            self.call_service("homeassistant", "restart", timeout=1.0)
        except requests.RequestException:
            pass

    @property
    def pid(self):
        process = self._process
        return process.pid if process and process.poll() is None else None

    @property
    def is_kept(self):
        """Whether it runs, or is about to run again after a restart."""
        return self._keeper is not None and self._keeper.is_alive()

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc_info):
        self.stop()

    # -- use ----------------------------------------------------------------

    def api(self, method, path, payload=None, timeout=10.0):
        """A REST call with the owner's token; returns the decoded answer."""
        answer = requests.request(
            method,
            self.url + path,
            json=payload,
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=timeout,
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def call_service(self, domain, service, timeout=10.0, **data):
        return self.api("POST", f"/api/services/{domain}/{service}", data, timeout)

    def set_state(self, entity_id, state, attributes=None):
        """Make or change a state that no integration stands behind."""
        payload = {"state": state, "attributes": attributes or {}}
        return self.api("POST", f"/api/states/{entity_id}", payload)

    def get_state(self, entity_id):
        return self.api("GET", f"/api/states/{entity_id}")

    def command(self, type_, **payload):
        """One WebSocket command over a connection of its own; its result."""
        return self._websocket_command(self.token, {"type": type_, **payload})

    # -- the process --------------------------------------------------------

    def _write_configuration(self):
        self.config_dir.mkdir(parents=True, exist_ok=True)
        self.config_dir.chmod(0o700)
        text = CONFIGURATION.format(
            port=self.port, frontend="frontend:\n" if self._frontend else ""
        )
        (self.config_dir / "configuration.yaml").write_text(text)
        # This step of the onboarding would ask the internet for a position.
        onboarding = self.config_dir / ".storage" / "onboarding"
        if not onboarding.exists():
            onboarding.parent.mkdir(exist_ok=True)
            onboarding.write_text(json.dumps(ONBOARDING))

    def _spawn(self):
        # PYTHONPATH leads to Odoo's packages. A session of its own keeps the
        # terminal's Ctrl-C away: whoever started it stops it.
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        with open(self.config_dir / "hass.out", "ab") as output:
            self._process = subprocess.Popen(
                [self._hass, "-c", str(self.config_dir), "--skip-pip"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
            )
        processes.record(self._process.pid, "hass")

    def _keep(self):
        """Start it again whenever it asks for that."""
        while not self._stopping.is_set():
            self._spawn()
            self._spawned.set()
            process = self._process
            code = process.wait()
            processes.forget(process.pid, "hass")
            if code != RESTART_EXIT_CODE:
                return

    def _end(self, number, timeout):
        self._stopping.set()
        process, keeper = self._process, self._keeper
        if process is None:
            return
        for signal_number in (number, signal.SIGKILL):
            if process.poll() is None:
                processes.signal_quietly(process.pid, signal.SIGCONT)
                processes.signal_quietly(process.pid, signal_number)
            keeper.join(timeout)
            if not keeper.is_alive():
                return

    def _wait(self, condition, deadline, what):
        while True:
            try:
                if condition():
                    return
            except (requests.RequestException, OSError):
                pass
            if self._spawned.is_set() and not self.is_kept:
                raise HomeAssistantError(
                    f"{self.url} ended while waiting for it {what}; see "
                    f"{self.config_dir / 'hass.out'} and {self.log_file}"
                )
            if time.monotonic() > deadline:
                raise HomeAssistantError(
                    f"{self.url} took too long {what}; see {self.log_file}"
                )
            time.sleep(0.1)

    def _answers(self):
        path = "/auth/providers" if self._is_onboarded() else "/api/onboarding"
        return requests.get(self.url + path, timeout=5).status_code == 200

    def _is_onboarded(self):
        """Whether all is done: then it has no /api/onboarding after a restart."""
        path = self.config_dir / ".storage" / "onboarding"
        done = json.loads(path.read_text())["data"]["done"]
        return {"user", "analytics", "integration"} <= set(done)

    def _is_running(self):
        return self.api("GET", "/api/config")["state"] == "RUNNING"

    # -- owner and token ----------------------------------------------------

    def _get_token(self):
        """Read the token of an earlier start, or get one without a browser."""
        path = self.config_dir / SECRETS_FILE
        kept = json.loads(path.read_text()) if path.exists() else {}
        self.password = kept.get("password") or secrets.token_urlsafe(9)
        self.token = kept.get("token")
        if self.token:
            return
        # The password is kept before it is used: an interrupted start goes on.
        self._keep_secrets(path)
        client_id = self.url + "/"
        rows = [] if self._is_onboarded() else self._json("GET", "/api/onboarding")
        steps = {row["step"]: row["done"] for row in rows}
        new = not steps.get("user", True)
        code = self._create_owner(client_id) if new else self._log_in(client_id)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "client_id": client_id,
        }
        access = self._json("POST", "/auth/token", data=form)["access_token"]
        self._finish_onboarding(client_id, access, steps)
        self.token = self._websocket_command(
            access,
            {
                "type": "auth/long_lived_access_token",
                "client_name": f"dev {secrets.token_hex(4)}",
                "lifespan": 3650,
            },
        )
        self._keep_secrets(path)

    def _keep_secrets(self, path):
        temporary = path.with_suffix(".new")
        with open(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.truncate()
            json.dump({"password": self.password, "token": self.token}, file)
        temporary.replace(path)

    def _json(self, method, path, access=None, **kwargs):
        headers = {"Authorization": f"Bearer {access}"} if access else None
        answer = requests.request(
            method, self.url + path, headers=headers, timeout=20, **kwargs
        )
        if not answer.ok:
            raise HomeAssistantError(
                f"{method} {path}: {answer.status_code} {answer.text[:200]}"
            )
        return answer.json()

    def _create_owner(self, client_id):
        owner = {
            "client_id": client_id,
            "name": "Owner",
            "username": self.username,
            "password": self.password,
            "language": "en",
        }
        return self._json("POST", "/api/onboarding/users", json=owner)["auth_code"]

    def _log_in(self, client_id):
        flow = {
            "client_id": client_id,
            "handler": ["homeassistant", None],
            "redirect_uri": client_id,
        }
        flow_id = self._json("POST", "/auth/login_flow", json=flow)["flow_id"]
        login = {
            "client_id": client_id,
            "username": self.username,
            "password": self.password,
        }
        answer = self._json("POST", f"/auth/login_flow/{flow_id}", json=login)
        if answer.get("type") != "create_entry":
            raise HomeAssistantError(
                f"{self.config_dir} has an owner whose password is not known here: "
                "remove that directory"
            )
        return answer["result"]

    def _finish_onboarding(self, client_id, access, done):
        wanted = {
            "analytics": {},
            "integration": {"client_id": client_id, "redirect_uri": client_id},
        }
        for step, payload in wanted.items():
            if not done.get(step, True):
                path = f"/api/onboarding/{step}"
                self._json("POST", path, access=access, json=payload)

    def _websocket_command(self, access, payload):
        link = websocket.create_connection(
            self.url.replace("http", "ws", 1) + "/api/websocket", timeout=20
        )
        try:
            link.recv()
            link.send(json.dumps({"type": "auth", "access_token": access}))
            if json.loads(link.recv())["type"] != "auth_ok":
                raise HomeAssistantError("Home Assistant refused its own token")
            link.send(json.dumps({"id": 1, **payload}))
            while True:
                message = json.loads(link.recv())
                if message.get("id") == 1 and message["type"] == "result":
                    break
        finally:
            link.close()
        if not message["success"]:
            raise HomeAssistantError(f"{payload['type']}: {message['error']}")
        return message["result"]
