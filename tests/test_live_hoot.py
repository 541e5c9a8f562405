"""The unit tests of the web client, in a browser."""

import re
from unittest.mock import patch

from odoo.tests import HttpCase, no_retry, tagged
from odoo.tests.common import ChromeBrowser

FEWEST = 25  # tests; fewer have not been found
# A file of Discuss that Debian leaves out; its absence is an error on the page.
MISSING = "selfie_segmentation"


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
        handle = ChromeBrowser._handle_console
        told = []

        def listen(browser, *types, args=None, **options):
            values = [str(arg.get("value", arg.get("description"))) for arg in args]
            text = " ".join(values)
            if MISSING not in text:
                told.append(text)
                handle(browser, *types, args=args, **options)

        with patch.object(ChromeBrowser, "_handle_console", listen):
            try:
                self.browser_js(
                    "/web/tests?headless&loglevel=2&preset=desktop&timeout=15000"
                    f"&id={suite_id('@odoo_ha_addon')}",
                    "",
                    login="admin",
                    timeout=300,
                    success_signal="[HOOT] Test suite succeeded",
                    error_checker=lambda text: "[HOOT]" not in text,
                )
            except AssertionError as error:
                raise AssertionError("\n".join(told)) from error
        passed = re.findall(r"Passed (\d+) tests", "\n".join(told))
        self.assertTrue(passed, f"HOOT did not say how many tests passed: {told}")
        self.assertGreaterEqual(int(passed[-1]), FEWEST)
