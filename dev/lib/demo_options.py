"""The options of dev/demo, and whether they can be had.

Run by itself it tells so at once, before anything is provisioned.
"""

import argparse
import socket
import sys


class DemoError(Exception):
    """What a person can act on, instead of a traceback."""


def parse():
    parser = argparse.ArgumentParser(
        prog="dev/demo",
        description="Odoo and a real Home Assistant, connected. Ctrl-C stops both.",
    )
    parser.add_argument("--http-port", type=int, default=8069, help="of Odoo")
    parser.add_argument("--ha-port", type=int, default=8123, help="of Home Assistant")
    parser.add_argument("--db", default="demo", help="name of the database")
    return parser.parse_args()


def check_port(port, option, whose):
    with socket.socket() as sock:
        # As a server would: connections that linger do not count.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise DemoError(
                f"port {port} of 127.0.0.1, meant for {whose}, is not free "
                f"({error}); choose another with {option} N"
            ) from error


def check_ports(options):
    check_port(options.http_port, "--http-port", "Odoo")
    check_port(options.ha_port, "--ha-port", "Home Assistant")


if __name__ == "__main__":
    try:
        check_ports(parse())
    except DemoError as problem:
        sys.exit(f"[demo] ERROR: {problem}")
