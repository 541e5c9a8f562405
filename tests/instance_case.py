"""Shared by the tests that work on records: instances that look alive."""

import contextlib
import logging
import unittest.mock

import psycopg2

from odoo.sql_db import connection_info_for
from odoo.tests import TransactionCase, new_test_user
from odoo.tests.common import _super_send

from ..models.common.ingest import heartbeat
from ..models.common.supervision.ownership import LOCK_CLASS

TOKEN = "a-long-lived-token-0123456789"
URL = "http://ha.example:8123"
USER = "base.group_user,odoo_ha_addon.group_ha_user"
MANAGER = "base.group_user,odoo_ha_addon.group_ha_manager"


class RealRequests:
    """Let the addon's own requests pass as they are.

    Odoo's test case stretches timeouts, and knows only plain numbers.
    """

    @classmethod
    def _request_handler(cls, session, request, /, **options):
        return _super_send(session, request, **options)


class InstanceMixin:
    """Instances and the traces that a link leaves in the database."""

    @classmethod
    def make_instance(cls, **values):
        values = {"name": "My HA", "api_url": URL, "api_token": TOKEN, **values}
        return cls.env["ha.instance"].create(values)

    @classmethod
    def make_user(cls, login, groups, **values):
        return new_test_user(cls.env, login, groups, **values)

    @classmethod
    def make_entity(cls, instance, entity_id, state="off", **values):
        return cls.env["ha.entity"].create(
            {
                "instance_id": instance.id,
                "ha_entity_id": entity_id,
                "name": entity_id.partition(".")[2].replace("_", " ").title(),
                "state": state,
                **values,
            }
        )

    def connect(self):
        """A raw connection of its own, as other processes have."""
        connection = psycopg2.connect(**connection_info_for(self.env.cr.dbname)[1])
        self.addCleanup(connection.close)
        connection.autocommit = True
        return connection

    def hold_lease(self, instance):
        """Own an instance as a supervising process does."""
        connection = self.connect()
        with connection.cursor() as cr:
            cr.execute("SELECT pg_advisory_lock(%s, %s)", (LOCK_CLASS, instance.id))
        return connection

    def release_lease(self, connection):
        """Give it free; closing alone would take PostgreSQL a moment."""
        with connection.cursor() as cr:
            cr.execute("SELECT pg_advisory_unlock_all()")
        connection.close()

    def beat(self, instance, age=0):
        """A heartbeat that is ``age`` seconds old."""
        key = heartbeat.key(self.env.cr.dbname, instance.id)
        heartbeat.write(self.env.cr, self.env.cr.dbname, instance.id)
        # In a test's transaction now() is the time at which the class began.
        self.env.cr.execute(
            "UPDATE ir_config_parameter SET value = to_char(clock_timestamp() AT TIME"
            " ZONE 'UTC' - %s * interval '1 second', 'YYYY-MM-DD HH24:MI:SS')"
            " WHERE key = %s",
            (age, key),
        )

    def set_status(self, instance, since=None, **columns):
        """What the owner reports; ``since``: connected for so many seconds."""
        assignments = "".join(f", {name} = %s" for name in columns)
        self.env.flush_all()
        self.env.cr.execute(
            "UPDATE ha_instance_status SET connected_since = clock_timestamp() AT TIME"
            f" ZONE 'UTC' - %s * interval '1 second'{assignments}"
            " WHERE instance_id = %s",
            (since, *columns.values(), instance.id),
        )
        self.env.invalidate_all()

    def make_connected(self, instance):
        """Everything that a healthy link leaves in the database."""
        connection = self.hold_lease(instance)
        self.set_status(
            instance,
            since=100,
            state="connected",
            epoch=1,
            owner_host="host",
            owner_pid=4711,
            owner_role="cron",
            ha_version="2025.4.4",
            location_name="Fake Home",
        )
        self.beat(instance)
        return connection

    @contextlib.contextmanager
    def captured_logs(self):
        """Collect lines: ours and other packages' from DEBUG, Odoo's from INFO.

        From DEBUG on, Odoo itself writes every value into its log that it handles.
        """
        with contextlib.ExitStack() as stack:
            for name, level in (
                ("odoo", logging.INFO),
                ("werkzeug", logging.INFO),
                ("odoo.addons.odoo_ha_addon", logging.DEBUG),
            ):
                logger = logging.getLogger(name)
                stack.callback(logger.setLevel, logger.level)
                logger.setLevel(level)
            logs = stack.enter_context(self.assertLogs(level=logging.DEBUG))
            logging.getLogger("odoo.addons.odoo_ha_addon").debug("the log is captured")
            yield logs.output

    def stored_token(self, instance):
        """What lies in the database."""
        self.env.flush_all()
        self.env.cr.execute(
            "SELECT api_token_stored FROM ha_instance WHERE id = %s", (instance.id,)
        )
        return self.env.cr.fetchone()[0]

    @contextlib.contextmanager
    def server_key(self, key):
        """The server's environment with this encryption key, or without any."""
        name = "ODOO_HA_ADDON_KEY"
        with unittest.mock.patch.dict("os.environ", {name: key or ""}):
            self.env.invalidate_all()
            yield
            self.env.flush_all()
        self.env.invalidate_all()


class InstanceCase(RealRequests, InstanceMixin, TransactionCase):
    """Tests of records in one transaction."""
