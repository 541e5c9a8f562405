import json
import optparse
import sys

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
        names = config["db_name"]
        if len(names) != 1:
            sys.exit("ha_doctor needs one database: -d DATABASE")
        with Registry(names[0]).cursor() as cr:
            env = api.Environment(cr, SUPERUSER_ID, {})
            if "ha.instance" not in env:
                sys.exit(f"The addon is not installed in database {names[0]}.")
            from odoo.addons.odoo_ha_addon.models.common import doctor

            result = doctor.examine(env)
        if options.as_json:
            text = json.dumps(result, default=str, indent=2)
        else:
            text = "\n".join(doctor.report_lines(result))
        sys.stdout.write(text + "\n")
        sys.exit(0 if result["healthy"] else 1)
