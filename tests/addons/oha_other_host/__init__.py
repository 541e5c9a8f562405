"""Loaded with ``--load``: this server's host has another name, as a second one has."""

import socket

socket.gethostname = lambda: "another-host"
