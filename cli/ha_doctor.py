import json
import optparse
import sys

import psycopg2

from odoo import SUPERUSER_ID, api
from odoo.cli import Command
from odoo.modules.registry import Registry
from odoo.tools import config


class HaDoctor(Command):
    """Examine the connections to Home Assistant; exit code 1 when one is wrong.

    Checks configuration, reachability, ownership, heartbeat, and asks the
    supervising processes what their threads are doing.

    Odoo finds this command when it knows the addons path before it reads any
    option: through ODOO_RC or a leading --addons-path=…, not through -c.
    """

    name = "ha_doctor"

    def run(self, cmdargs):
        parser = config.parser
        parser.prog = self.prog
        group = optparse.OptionGroup(parser, "Home Assistant doctor")
        group.add_option(
            "--json", action="store_true", dest="as_json", help="for machines"
        )
        parser.add_option_group(group)
        options = config.parse_config(cmdargs, setup_logging=True)
        result = _examine(config["db_name"])
        if options.as_json:
            sys.stdout.write(json.dumps(result, default=str, indent=2) + "\n")
        elif result["message"]:
            sys.stderr.write(f"{result['message']} {result['remedy']}\n")
        else:
            from odoo.addons.odoo_ha_addon.models.common.condition import doctor

            sys.stdout.write("\n".join(doctor.report_lines(result)) + "\n")
        sys.exit(0 if result["healthy"] else 1)


def _examine(names: list[str]) -> dict:
    """What ``doctor.examine`` finds; without a database to look into, why not."""
    if len(names) != 1:
        return _failure(
            "ha_doctor needs one database: -d DATABASE.",
            "Run it once for each of several.",
        )
    [name] = names
    try:
        with Registry(name).cursor() as cr:
            env = api.Environment(cr, SUPERUSER_ID, {})
            if "ha.instance" not in env:
                return _failure(
                    f"The addon is not installed in database {name}.",
                    f"Install it: -d {name} -i odoo_ha_addon",
                    name,
                )
            from odoo.addons.odoo_ha_addon.models.common.condition import doctor

            return doctor.examine(env)
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        words = " ".join(str(error).split())
        return _failure(
            f"Database {name} cannot be reached: {words}.",
            "Check the name after -d, that PostgreSQL runs, and db_host, db_port,"
            " db_user and db_password of Odoo's configuration.",
            name,
        )


def _failure(message: str, remedy: str, database: str | None = None) -> dict:
    """The report of an examination that could not take place."""
    return {
        "database": database,
        "healthy": False,
        "message": message,
        "remedy": remedy,
        "supervisors": [],
        "instances": [],
    }
