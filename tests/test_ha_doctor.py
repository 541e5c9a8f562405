"""The command ``ha_doctor`` as an ordinary installation of Odoo finds it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from odoo.tests import tagged
from odoo.tools import config

from .common import ADDON, LifecycleCase, require_environment


@tagged("post_install", "-at_install")
class TestHaDoctorCommand(LifecycleCase):
    def setUp(self):
        super().setUp()
        self.home = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.addons = self.home / "addons"
        ignore = shutil.ignore_patterns(".*", "node_modules", "__pycache__", "tests")
        shutil.copytree(ADDON, self.addons / "odoo_ha_addon", ignore=ignore)
        self.db = self.database()
        self.conf = self.home / "odoo.conf"
        options = {
            "addons_path": self.addons,
            "data_dir": self.home / "data",
            **{key: config[key] for key in ("db_host", "db_port", "db_user")},
        }
        lines = [f"{key} = {value}" for key, value in options.items() if value]
        self.conf.write_text("\n".join(["[options]", *lines, ""]))

    def odoo(self, *arguments, **variables):
        """The plain command, with nothing of the development environment."""
        env = {
            name: value
            for name, value in os.environ.items()
            if name != "ODOO_RC" and not name.startswith(("OHA_", "ODOO_HA_"))
        }
        return subprocess.run(
            [sys.executable, require_environment("OHA_ODOO_SCRIPT"), *arguments],
            env={**env, "HOME": str(self.home), **variables},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def test_where_odoo_finds_it(self):
        name = self.db.name
        leading = f"--addons-path={self.addons}"
        for arguments, variables in (
            (["ha_doctor", "-d", name], {"ODOO_RC": str(self.conf)}),
            ([leading, "ha_doctor", "-c", str(self.conf), "-d", name], {}),
        ):
            with self.subTest(arguments=arguments):
                done = self.odoo(*arguments, "--json", **variables)
                self.assertEqual(done.returncode, 0, done.stderr)
                report = json.loads(done.stdout)
                self.assertEqual(report["database"], name)
                self.assertEqual((report["healthy"], report["instances"]), (True, []))
                self.assertIsNone(report["message"])
                self.assertIn("[post_load_hook] This command", done.stderr)

    def test_why_it_cannot_examine(self):
        name = self.db.name
        self.db.sql(
            "UPDATE ir_module_module SET state = 'uninstalled'"
            " WHERE name = 'odoo_ha_addon'"
        )
        for arguments, message, remedy in (
            ([], "needs one database: -d DATABASE", "once for each"),
            (["-d", "nosuch"], '"nosuch" does not exist', "the name after -d"),
            (["-d", name, "--db_port=1"], f"{name} cannot be reached", "runs"),
            (["-d", name], f"not installed in database {name}", "-i odoo_ha_addon"),
        ):
            with self.subTest(arguments=arguments):
                done = self.odoo("ha_doctor", *arguments, ODOO_RC=str(self.conf))
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.assertNotIn("Traceback", done.stderr)
                last = done.stderr.splitlines()[-1]
                for text in (message, remedy):
                    self.assertIn(text, last)
                done = self.odoo(
                    "ha_doctor", *arguments, "--json", ODOO_RC=str(self.conf)
                )
                self.assertEqual(done.returncode, 1)
                report = json.loads(done.stdout)
                self.assertEqual(f"{report['message']} {report['remedy']}", last)
                self.assertFalse(report["healthy"])
                self.assertEqual(report["database"], (arguments or [0, None])[1])

    def test_not_through_an_option_of_its_own(self):
        """As README says: Odoo looks for commands before it reads options."""
        done = self.odoo("ha_doctor", "-c", str(self.conf), "-d", self.db.name)
        self.assertEqual(done.returncode, 1)
        self.assertIn("Unknown command 'ha_doctor'", done.stderr)
