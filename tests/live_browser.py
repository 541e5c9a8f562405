"""A real browser that looks at a real server, for tests of what it shows by itself."""

import base64
import json
import logging

import requests

from odoo.tests.common import ChromeBrowser

from .common import Database, LifecycleCase, OdooServer, start_home_assistant

# What the scripts of a test may use; waiting in vain fails.
PRELUDE = """
    const services = odoo.__WOWL_DEBUG__.root.env.services;
    const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
    const all = (selector) => [...document.querySelectorAll(selector)];
    const find = (selector, text) =>
        all(selector).find((node) => node.innerText.includes(text));
    async function until(condition, what, seconds = 30) {
        for (const end = Date.now() + seconds * 1000; Date.now() < end; ) {
            const dialog = document.querySelector(".o_error_dialog");
            if (dialog) {
                throw new Error("error dialog: " + dialog.innerText);
            }
            const result = await condition();
            if (result) {
                return result;
            }
            await sleep(50);
        }
        throw new Error("in vain: " + what + " in " + document.body.innerText);
    }
    async function open(action, options = {}) {
        await services.action.doAction(action, {clearBreadcrumbs: true, ...options});
    }
    async function openForm(model, id) {
        await open({
            type: "ir.actions.act_window",
            res_model: model,
            res_id: id,
            views: [[false, "form"]],
        });
        await until(() => all(".o_form_view .o_form_sheet").length, "form");
    }
    // Requests of the web client that read records.
    const reads = () =>
        performance
            .getEntriesByType("resource")
            .filter(({name}) => /\\/web_(read|search_read|read_group)/.test(name))
            .length;
"""


class _TestCase:
    """What Odoo's browser wants to know of its test."""

    browser_size = "1366x768"
    touch_enabled = False

    def __init__(self, test):
        self._logger = logging.getLogger(f"{__name__}.{test}")

    @staticmethod
    def fetch_proxy(_url):
        return {"responseCode": 404}


def login(server, database, name):
    """A session of a user whose password is the name.

    :return: its cookie
    """
    session = requests.Session()
    answer = session.post(
        f"http://127.0.0.1:{server.port}/web/session/authenticate",
        json={"params": {"db": database.name, "login": name, "password": name}},
        timeout=60,
    ).json()
    if "error" in answer:
        raise AssertionError(answer["error"])
    return session.cookies["session_id"]


class LiveBrowser:
    """One user's browser window.

    :param server: an ``OdooServer`` of a single process, which also serves WebSockets
    """

    def __init__(self, test, server, database, name):
        self._browser = ChromeBrowser(_TestCase(test))
        cookie = login(server, database, name)
        self._browser.set_cookie("session_id", cookie, "/", "127.0.0.1")
        self._browser.navigate_to(f"http://127.0.0.1:{server.port}/odoo")
        # Its first page must have come, or it might take the place of a test's.
        ready = (
            "odoo.isReady === true && !!document.querySelector('.o_action_manager > *')"
        )
        if not self._browser._wait_ready(ready, 90):
            raise AssertionError("the web client has not come up")

    def run(self, script, timeout=60, **values):
        """Run the body of an async function in the page; return what it returns."""
        constants = "".join(
            f"const {name} = {json.dumps(value)};" for name, value in values.items()
        )
        answer = self._browser._websocket_request(
            "Runtime.evaluate",
            params={
                "expression": f"(async () => {{{PRELUDE}{constants}{script}}})()",
                "awaitPromise": True,
                "returnByValue": True,
            },
            timeout=timeout,
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise AssertionError(details.get("exception", {}).get("description"))
        return answer["result"].get("value")

    def type(self, text):
        """Type like a person, where the focus is."""
        self._browser._websocket_request("Input.insertText", params={"text": text})

    def resize(self, width, height):
        size = {"width": width, "height": height, "deviceScaleFactor": 1}
        self._browser._websocket_request(
            "Emulation.setDeviceMetricsOverride", params={**size, "mobile": False}
        )

    def screenshot(self, path):
        answer = self._browser._websocket_request("Page.captureScreenshot")
        with open(path, "wb") as file:
            file.write(base64.b64decode(answer["data"]))

    def stop(self):
        self._browser.stop()


class DemoHomeCase(LifecycleCase):
    """A real Home Assistant with its demo devices, a server, a manager's browser."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.ha = start_home_assistant(cls)
        cls.db = Database()
        cls.addClassCleanup(cls.db.drop)
        cls.odoo = OdooServer("-d", cls.db.name)
        cls.addClassCleanup(cls.odoo.stop)
        cls.odoo.start()
        cls.odoo.wait_http()
        cls.instance_id = cls.odoo.execute(
            cls.db.name,
            "ha.instance",
            "create",
            {"name": "Demo Home", "api_url": cls.ha.url, "api_token": cls.ha.token},
        )
        cls.wait_home()
        cls.browser = LiveBrowser(cls.__name__, cls.odoo, cls.db, "admin")
        cls.addClassCleanup(cls.browser.stop)

    @classmethod
    def wait_home(cls):
        """Wait for what the tests need to be there."""
        raise NotImplementedError

    @classmethod
    def entity_id(cls, ha_entity_id):
        return cls.db.value(
            "SELECT id FROM ha_entity WHERE ha_entity_id = %s", (ha_entity_id,)
        )

    def switch(self, entity_id, state):
        """Let a person switch a light in Home Assistant."""
        service = f"/api/services/light/turn_{state}"
        self.ha.api("POST", service, {"entity_id": entity_id})
