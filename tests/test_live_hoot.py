"""The unit tests of the web client, in a browser."""

import logging
import re

from odoo.tests import HttpCase, no_retry, tagged

FEWEST = 25  # tests; fewer have not been found
# HOOT's own, which its summary repeats; and a file of mail that Debian leaves out.
IGNORED = ("[HOOT]", "selfie_segmentation")


def suite_id(path):
    """How HOOT names a suite in the address of its page."""
    value = 0
    for character in path:
        value = ((value << 5) - value + ord(character)) & 0xFFFFFFFF
    return f"{value:08x}"


@tagged("post_install", "-at_install")
class TestLiveHoot(HttpCase):
    @no_retry
    def test_hoot(self):
        suite = suite_id("@odoo_ha_addon")
        with self.assertLogs(level=logging.INFO) as logs:
            self.browser_js(
                f"/web/tests?headless&loglevel=2&preset=desktop&timeout=15000&id={suite}",
                "",
                login="admin",
                timeout=300,
                success_signal="[HOOT] Test suite succeeded",
                error_checker=lambda text: not any(name in text for name in IGNORED),
            )
        passed = re.findall(r"Passed (\d+) tests", "\n".join(logs.output))
        self.assertTrue(passed, "HOOT did not say how many tests passed")
        self.assertGreaterEqual(int(passed[-1]), FEWEST)
