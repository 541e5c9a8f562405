"""Which of the two test runs the arguments of dev/test are meant for."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PURE = ROOT / "tests" / "pure"
# Options whose value is the next argument: that value is no path.
TAKES_VALUE = {
    *("-k", "-m", "-p", "-c", "-o", "-W", "-r", "-n"),
    *("--tb", "--maxfail", "--durations", "--deselect", "--ignore", "--color"),
    *("--log-level", "--log-cli-level", "--junitxml", "--odoo-log-level"),
}
# Options that leave every test selected.
SELECTS_ALL = (
    *("-v", "-q", "-s", "-x", "-l", "-r", "-W", "--tb", "--maxfail", "--durations"),
    *("--color", "--log", "--odoo-log-level", "--junitxml", "--pdb", "--show", "-ra"),
)


@dataclass
class Arguments:
    options: list = field(default_factory=list)
    pure: list = field(default_factory=list)
    odoo: list = field(default_factory=list)
    run_pure: bool = True
    run_odoo: bool = True
    complete: bool = True


def _in_tests(argument):
    """The absolute path (with its ``::test``) when the argument names a test."""
    name, colons, test = argument.partition("::")
    for base in (Path.cwd(), ROOT):
        path = (base / name).resolve()
        if path.exists() and path.is_relative_to(ROOT / "tests"):
            return path, colons + test
    return None


def route(argv):
    found = Arguments()
    paths = False
    value_follows = False
    for argument in argv:
        target = None
        if not value_follows and not argument.startswith("-"):
            target = _in_tests(argument)
        if target is None:
            found.options.append(argument)
            if not value_follows and not argument.startswith(SELECTS_ALL):
                found.complete = False
            value_follows = not value_follows and argument in TAKES_VALUE
            continue
        paths = True
        path, test = target
        if path == ROOT / "tests":
            found.pure.append(str(PURE))
            found.odoo.append("tests")
        elif path.is_relative_to(PURE):
            found.pure.append(f"{path}{test}")
        else:
            found.odoo.append(f"{path.relative_to(ROOT)}{test}")
    if paths:
        found.complete = False
        found.run_pure, found.run_odoo = bool(found.pure), bool(found.odoo)
    found.pure = found.pure or [str(PURE)]
    found.odoo = found.odoo or ["tests"]
    return found


if __name__ == "__main__":
    # Whether a browser will be needed.
    sys.exit(0 if route(sys.argv[1:]).run_odoo else 1)
