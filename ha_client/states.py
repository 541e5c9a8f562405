"""Decoding of ``subscribe_entities``: compressed states and their diffs.

Keys on the wire: ``a`` added (or complete) entities, ``c`` changes, ``r`` removed
ids; per entity ``s`` state, ``a`` attributes, ``c`` context (its id, or a dict),
``lc`` last changed, ``lu`` last updated (left out when equal to ``lc``), in epoch
seconds. A change has ``+`` (new values) and ``-`` (``a``: attribute names gone).
"""

from typing import Any, NamedTuple

from .exceptions import ProtocolError, readable
from .model import EntityState


class StateChanges(NamedTuple):
    """What one event did.

    ``complete``: ``changed`` is all there is, whatever was known before;
    ``removed`` then names what was known and is gone.
    """

    changed: dict[str, EntityState]
    removed: set[str]
    complete: bool


class StateDecoder:
    """Follows one subscription; ``states`` is the full map after each event.

    The map is replaced or changed in place, the states in it never are.
    """

    def __init__(self) -> None:
        self.states: dict[str, EntityState] = {}
        self._fresh = True
        self._resumes = False

    @property
    def newest(self) -> float:
        """When Home Assistant last updated any entity, in epoch seconds."""
        return max((s.last_updated for s in self.states.values()), default=0.0)

    def restart(self) -> None:
        """A new subscription begins: its first event replaces everything."""
        self._fresh, self._resumes = True, False

    def resume(self) -> None:
        """As :meth:`restart`, but only what differs from before is a change."""
        self._fresh = self._resumes = True

    def apply(self, event: dict[str, Any]) -> StateChanges:
        """Apply one event.

        Raises :class:`ProtocolError` when the event is malformed, or changes an
        entity that is not known: then our map is not Home Assistant's any more,
        and only a new snapshot repairs it (ignoring it would leave that entity
        wrong for ever).
        """
        try:
            if self._fresh:
                return self._replace(event)
            return self._update(event)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            detail = f"entity event: {type(error).__name__} {error}"
            raise ProtocolError(detail=readable(detail)) from error

    def _replace(self, event: dict[str, Any]) -> StateChanges:
        before, states = self.states, _added(event)
        removed = before.keys() - states.keys()
        self._fresh = False
        if not self._resumes:
            self.states = states
            return StateChanges(dict(states), removed, True)
        changed = _different(before, states)
        self.states = {key: changed.get(key) or before[key] for key in states}
        return StateChanges(changed, removed, False)

    def _update(self, event: dict[str, Any]) -> StateChanges:
        states = self.states
        changed = _added(event) if event.get("a") else {}
        for entity_id, diff in (event.get("c") or {}).items():
            known = changed.get(entity_id) or states[entity_id]
            changed[entity_id] = _changed(known, diff)
        states.update(changed)
        removed = set()
        for entity_id in event.get("r") or ():
            changed.pop(entity_id, None)
            if states.pop(entity_id, None) is not None:
                removed.add(entity_id)
        return StateChanges(changed, removed, False)


def _different(
    before: dict[str, EntityState], states: dict[str, EntityState]
) -> dict[str, EntityState]:
    """The states that are not as before; attributes that are equal stay the same."""
    changed = {}
    for entity_id, state in states.items():
        old = before.get(entity_id)
        if old is not None and old.attributes == state.attributes:
            state = state._replace(attributes=old.attributes)
        if state != old:
            changed[entity_id] = state
    return changed


def _added(event: dict[str, Any]) -> dict[str, EntityState]:
    return {
        entity_id: _complete(entity_id, compressed)
        for entity_id, compressed in (event.get("a") or {}).items()
    }


def _complete(entity_id: str, compressed: dict[str, Any]) -> EntityState:
    last_changed = _time(compressed["lc"])
    return EntityState(
        entity_id,
        str(compressed["s"]),
        dict(compressed.get("a") or {}),
        last_changed,
        _time(compressed["lu"]) if "lu" in compressed else last_changed,
        _context_id(compressed.get("c"), None),
    )


def _changed(known: EntityState, diff: dict[str, Any]) -> EntityState:
    new = diff.get("+") or {}
    gone = (diff.get("-") or {}).get("a") or ()
    attributes = known.attributes
    if gone or new.get("a"):
        attributes = {k: v for k, v in attributes.items() if k not in gone}
        attributes.update(new.get("a") or {})
    last_changed, last_updated = known.last_changed, known.last_updated
    if "lc" in new:  # it implies lu
        last_changed = last_updated = _time(new["lc"])
    if "lu" in new:
        last_updated = _time(new["lu"])
    return EntityState(
        known.entity_id,
        str(new.get("s", known.state)),
        attributes,
        last_changed,
        last_updated,
        _context_id(new.get("c"), known.context_id),
    )


def _time(seconds: Any) -> float:
    """Home Assistant tells one time now with and now without fractions of a
    microsecond; databases round them differently."""
    return round(float(seconds), 6)


def _context_id(context: Any, known: str | None) -> str | None:
    """A context is its id, or a dict of the parts that are not null (in a diff:
    that have changed)."""
    if context is None:
        return known
    if isinstance(context, str):
        return context
    return context.get("id", known)
