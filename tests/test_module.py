"""Installation, upgrade and removal, each with a real Odoo command."""

import re
import sys

from odoo.tests import tagged

from .common import ADDON, LifecycleCase, wait_until
from .fake_ha import FakeHomeAssistant

MODULE = "odoo_ha_addon"
TROUBLE = re.compile(r"^\S+ \S+ \d+ (?:WARNING|ERROR|CRITICAL) .*", re.MULTILINE)
UNINSTALL = """
module = env["ir.module.module"].search([("name", "=", "odoo_ha_addon")])
module.button_immediate_uninstall()
print("UNINSTALLED")
"""
# Each call of this deprecated interface is a warning of Odoo's.
XML_RPC = "odoo.addons.rpc.controllers.xmlrpc"
# What is compared before the installation and after the removal.
SCHEMA_SQL = """
    SELECT 'column', table_name || '.' || column_name
      FROM information_schema.columns WHERE table_schema = 'public'
     UNION ALL SELECT 'index', indexname FROM pg_indexes WHERE schemaname = 'public'
     UNION ALL SELECT 'sequence', sequencename FROM pg_sequences
     UNION ALL SELECT 'constraint', conname || ' ' || conrelid::regclass
                 FROM pg_constraint
     UNION ALL SELECT 'function', proname FROM pg_proc
                WHERE pronamespace = 'public'::regnamespace
     UNION ALL SELECT 'trigger', tgname FROM pg_trigger WHERE NOT tgisinternal
"""
# Rows that the module or its use leaves in other modules' tables.
ROWS_SQL = """
    SELECT 'ir_model', model FROM ir_model
     UNION ALL SELECT 'ir_model_fields', model || '.' || name FROM ir_model_fields
     UNION ALL SELECT 'ir_model_data', module || '.' || name FROM ir_model_data
     UNION ALL SELECT 'ir_model_constraint', name FROM ir_model_constraint
     UNION ALL SELECT 'ir_model_access', name FROM ir_model_access
     UNION ALL SELECT 'ir_rule', name FROM ir_rule
     UNION ALL SELECT 'ir_config_parameter', key FROM ir_config_parameter
     UNION ALL SELECT 'ir_cron', cron_name FROM ir_cron
     UNION ALL SELECT 'ir_actions', type || ' ' || name::text FROM ir_actions
     UNION ALL SELECT 'ir_ui_menu', name::text FROM ir_ui_menu
     UNION ALL SELECT 'ir_ui_view', name FROM ir_ui_view
     UNION ALL SELECT 'ir_asset', name FROM ir_asset
     UNION ALL SELECT 'ir_module_category', name::text FROM ir_module_category
     UNION ALL SELECT 'res_groups', name::text FROM res_groups
     UNION ALL SELECT 'res_groups_privilege', name::text FROM res_groups_privilege
     UNION ALL SELECT 'mail_message', model || ' ' || res_id FROM mail_message
                WHERE model LIKE 'ha.%%'
     UNION ALL SELECT 'mail_followers', res_model || ' ' || res_id
                 FROM mail_followers WHERE res_model LIKE 'ha.%%'
     UNION ALL SELECT 'mail_activity', res_model || ' ' || res_id
                 FROM mail_activity WHERE res_model LIKE 'ha.%%'
     UNION ALL SELECT 'ir_attachment', res_model || ' ' || name
                 FROM ir_attachment WHERE res_model LIKE 'ha.%%'
"""
# Odoo itself notes these when any module comes or goes.
ODOOS_OWN = {("ir_config_parameter", "base.module_count")}


def template_without_addon():
    """A database with everything that the addon depends on, and nothing more."""
    library = str(ADDON / "dev" / "lib")
    if library not in sys.path:
        sys.path.insert(0, library)
    import databases

    return databases.dependencies_template(print)


class ModuleCase(LifecycleCase):
    def install(self, database):
        return self.command("-d", database.name, "-i", MODULE, "--stop-after-init")

    def command(self, *arguments, **options):
        """Run an Odoo command that must succeed; return its log."""
        result = self.run_odoo(*arguments, **options)
        log = result.stdout + result.stderr
        self.assertEqual(result.returncode, 0, log[-3000:])
        return log

    def assertNoTrouble(self, log):
        lines = TROUBLE.findall(log)
        self.assertEqual([line for line in lines if XML_RPC not in line], [])

    def assertInstalled(self, database, state="installed"):
        query = "SELECT state FROM ir_module_module WHERE name = %s"
        self.assertEqual(database.value(query, (MODULE,)), state)

    def contents(self, database):
        rows = database.sql(SCHEMA_SQL) + database.sql(ROWS_SQL)
        return set(rows) - ODOOS_OWN

    def use(self, database, ha):
        """Run a server until states, events, activities and a heartbeat are there."""
        instance_id = self.add_instance(database, ha)
        self.add_instance(database, ha, "Incomplete", api_token_stored=None)
        server = self.server("-d", database.name)
        self.wait_state(database, instance_id, "connected")
        server.wait_http()
        server.execute(
            database.name, "ha.instance", "write", [instance_id], {"name": "Used"}
        )
        server.execute(
            database.name,
            "ha.instance",
            "message_post",
            [instance_id],
            body="A remark",
        )
        for query in (
            "SELECT 1 FROM ir_config_parameter WHERE key LIKE 'odoo_ha_addon.%%'",
            "SELECT 1 FROM ha_entity_state WHERE state = 'off'",
            "SELECT 1 FROM ha_connection_event WHERE kind = 'connect'",
        ):
            wait_until(lambda query=query: database.value(query), what=query)
        return server, instance_id


@tagged("post_install", "-at_install")
class TestModule(ModuleCase):
    def setUp(self):
        super().setUp()
        self.ha = self.enterContext(FakeHomeAssistant())
        self.ha.update_registry("area", {"area_id": "kitchen", "name": "Kitchen"})
        self.ha.add_entity("light.kitchen", "off", registry_id="r1", area_id="kitchen")

    def test_comes_and_goes_without_a_trace_and_comes_again(self):
        database = self.database(template=template_without_addon())
        before = self.contents(database)
        log = self.install(database)
        self.assertNoTrouble(log)
        self.assertInstalled(database)
        self.assertNotEqual(self.contents(database), before)
        self.assertEqual(
            database.value(
                "SELECT count(*) FROM res_groups_users_rel r JOIN ir_model_data d"
                " ON d.res_id = r.gid AND d.model = 'res.groups'"
                " AND d.name = 'group_ha_manager' JOIN res_users u ON u.id = r.uid"
                " AND u.login = 'admin'"
            ),
            1,
        )

        server, _id = self.use(database, self.ha)
        server.signal(15)
        server.wait()
        log = self.command("shell", "-d", database.name, script=UNINSTALL)
        self.assertIn("UNINSTALLED", log)
        self.assertNoTrouble(log)
        self.assertInstalled(database, "uninstalled")
        self.assertEqual(self.contents(database) - before, set())
        self.assertEqual(before - self.contents(database), set())

        self.assertNoTrouble(self.install(database))
        self.assertInstalled(database)
        self.assertEqual(database.value("SELECT count(*) FROM ha_instance"), 0)

    def test_removal_while_the_server_is_connected_ends_the_links(self):
        database = self.database()
        server, _id = self.use(database, self.ha)
        ids = server.execute(
            database.name, "ir.module.module", "search", [("name", "=", MODULE)]
        )
        server.execute(
            database.name, "ir.module.module", "button_immediate_uninstall", ids
        )
        self.assertInstalled(database, "uninstalled")
        wait_until(lambda: not self.ha.connections, 10, "the end of the link")
        query = "SELECT count(*) FROM ir_config_parameter WHERE key LIKE %s"
        self.assertEqual(database.value(query, ("odoo_ha_addon.%",)), 0)
        self.assertNoTrouble(server.log.partition("button_immediate_uninstall")[2])

    def test_upgrade_keeps_all_data_and_warns_of_nothing(self):
        database = self.database()
        server, instance_id = self.use(database, self.ha)
        database.sql("UPDATE ha_entity SET custom_name = 'Mine', active = FALSE")
        server.signal(15)
        server.wait()
        rows = {table: self.rows(database, table) for table in self.tables(database)}
        log = self.command("-d", database.name, "-u", MODULE, "--stop-after-init")
        self.assertNoTrouble(log)
        for table, before in rows.items():
            with self.subTest(table=table):
                self.assertEqual(self.rows(database, table), before)
        self.server("-d", database.name)
        self.wait_state(database, instance_id, "connected")
        self.assertEqual(database.value("SELECT custom_name FROM ha_entity"), "Mine")

    def tables(self, database):
        rows = database.sql(
            "SELECT tablename FROM pg_tables WHERE tablename LIKE 'ha\\_%%'"
        )
        self.assertGreater(len(rows), 8)
        return [name for (name,) in rows]

    def rows(self, database, table):
        return sorted(database.sql(f"SELECT t::text FROM {table} t"))
