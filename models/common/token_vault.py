"""Encryption at rest of access tokens, with a key kept outside the database.

The administrator gives a Fernet key in the environment variable
``ODOO_HA_ADDON_KEY`` or as ``odoo_ha_addon_key`` in Odoo's configuration file.
Without a key tokens are stored as they are; then whoever reads a backup of the
database reads the tokens too.
"""

import os

from cryptography.fernet import Fernet, InvalidToken

from odoo.tools import config

PREFIX = "fernet:"


class TokenUnreadable(Exception):
    """The stored token was encrypted with a key that this server lacks."""


def _cipher() -> Fernet | None:
    key = os.environ.get("ODOO_HA_ADDON_KEY") or config.get("odoo_ha_addon_key")
    return Fernet(key) if key else None


def seal(token: str) -> str:
    """Turn a token into what is stored.

    :raises ValueError: when the configured key is not a Fernet key
    """
    cipher = _cipher()
    if not cipher or not token:
        return token
    return PREFIX + cipher.encrypt(token.encode()).decode()


def unseal(stored: str | None) -> str | None:
    """Turn what is stored back into the token.

    :raises TokenUnreadable: when the key is missing, malformed or another one
    """
    if not stored or not stored.startswith(PREFIX):
        return stored
    try:
        cipher = _cipher()
        if cipher is None:
            raise TokenUnreadable("no key is configured")
        return cipher.decrypt(stored[len(PREFIX) :].encode()).decode()
    except (InvalidToken, ValueError) as error:
        raise TokenUnreadable("the key does not fit") from error
