"""Values as PostgreSQL takes them: arrays as text, JSON, cleaned texts and times."""

import json
import math
from collections.abc import Iterable

MAX_EPOCH = 253402300799.0  # the end of the year 9999


# psycopg2 writes a Python list as ``ARRAY[…]``, and the server then plans each
# element as an expression of its own; a literal costs a third on either side.


def texts(values: Iterable[str | None]) -> str:
    """A literal for ``text[]``, without what PostgreSQL cannot store."""
    return clean_text(
        "{%s}"
        % ",".join(
            "NULL"
            if value is None
            else '"%s"' % value.replace("\\", "\\\\").replace('"', '\\"')
            for value in values
        )
    )


def numbers(values: Iterable[float | None]) -> str:
    """A literal for ``int[]`` or ``float8[]``; no NaN, no infinity."""
    return "{%s}" % ",".join(
        "NULL" if value is None else repr(value) for value in values
    )


def without_secrets(attributes: dict) -> dict:
    """Attributes that every user may read.

    A camera's state carries a token that opens its picture to whoever has it.
    """
    secret = {"access_token"} & attributes.keys()
    if "token=" in str(attributes.get("entity_picture")):
        secret.add("entity_picture")
    return {k: v for k, v in attributes.items() if k not in secret}


def to_json(value) -> str:
    """JSON that PostgreSQL's jsonb accepts: no NaN, no NUL character."""
    try:
        text = json.dumps(value, allow_nan=False)
    except (ValueError, TypeError):
        text = json.dumps(_finite(value))
    if "\\u0000" in text or "\\ud" in text:
        text = json.dumps(_clean_deep(json.loads(text)))
    return text


def _finite(value):
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value if isinstance(value, str | int | type(None)) else str(value)


def _clean_deep(value):
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {clean_text(key): _clean_deep(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean_deep(item) for item in value]
    return value


def clean_text(text: str) -> str:
    """Drop what PostgreSQL cannot store: NUL and lone surrogates."""
    text = str(text).replace("\0", "")
    return text.encode("utf-8", "replace").decode()


def epoch(seconds: float) -> float | None:
    """A time that PostgreSQL and Odoo can show, else ``None``."""
    usable = isinstance(seconds, int | float) and 0 <= seconds <= MAX_EPOCH
    return float(seconds) if usable else None
