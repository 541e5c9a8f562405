"""Which entities an instance brings in."""

from collections.abc import Iterable
from typing import Literal

from .model import Device, RegistryEntity

Mode = Literal["all", "some"]


class EntityFilter:
    """``all``, or ``some``: by domain, area or label; one match is enough.

    An entity's area is its own, else its device's; its labels are its own and its
    device's, as Home Assistant resolves targets.
    """

    def __init__(
        self,
        mode: Mode = "all",
        domains: Iterable[str] = (),
        area_ids: Iterable[str] = (),
        label_ids: Iterable[str] = (),
    ) -> None:
        self._all = mode == "all"
        self._domains = frozenset(domains)
        self._areas = frozenset(area_ids)
        self._labels = frozenset(label_ids)

    @property
    def accepts_all(self) -> bool:
        return self._all

    def accepts(
        self,
        entity_id: str,
        entity: RegistryEntity | None = None,
        device: Device | None = None,
    ) -> bool:
        """``entity`` is its registry entry and ``device`` its device, if any."""
        if self._all or entity_id.partition(".")[0] in self._domains:
            return True
        area = (entity and entity.area_id) or (device and device.area_id)
        if area in self._areas:
            return True
        labels = (entity.labels if entity else ()) + (device.labels if device else ())
        return not self._labels.isdisjoint(labels)
