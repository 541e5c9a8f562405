"""The layer of supervision without Odoo.

Importing the addon's own packages would run their ``__init__``, and so Odoo.
"""

import importlib
import sys
import types
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("addon", "addon.models", "addon.models.common")


def load(name):
    """A module of ``models/common`` that needs no Odoo."""
    for package in PACKAGES:
        if package not in sys.modules:
            module = types.ModuleType(package)
            module.__path__ = [str(ROOT.joinpath(*package.split(".")[1:]))]
            sys.modules[package] = module
    return importlib.import_module(f"{PACKAGES[-1]}.{name}")
