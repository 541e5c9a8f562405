"""Read the committed configuration of all instances of a database, by SQL.

Supervision acts on what is committed, in whatever process it was written, and
must not wait for Odoo's registry; hence no ORM here.
"""

import hashlib
from dataclasses import dataclass, field

from ....ha_client import causes
from ....ha_client.config_check import ConfigProblem, LinkConfig, find_problems
from ....ha_client.entity_filter import EntityFilter
from .. import token_vault

READ_SQL = """
    SELECT i.id, i.name, i.active, i.api_url, i.api_token_stored, i.verify_ssl,
           i.entity_filter, i.filter_domains,
           ARRAY(SELECT a.ha_area_id
                   FROM ha_instance_filter_area_rel r
                   JOIN ha_area a ON a.id = r.area_id
                  WHERE r.instance_id = i.id ORDER BY 1),
           ARRAY(SELECT l.ha_label_id
                   FROM ha_instance_filter_label_rel r
                   JOIN ha_label l ON l.id = r.label_id
                  WHERE r.instance_id = i.id ORDER BY 1),
           i.confirmed_database_uuid IS NOT DISTINCT FROM
               (SELECT value FROM ir_config_parameter WHERE key = 'database.uuid')
           -- A raw copy has the uuid of its original, but neither its name nor oid. A
           -- renamed database keeps the oid, one that moves to a new server the name.
           AND EXISTS (SELECT 1 FROM pg_database d
                        WHERE d.datname = current_database()
                          AND (i.confirmed_database_name = d.datname
                               OR i.confirmed_database_oid = d.oid::text)),
           coalesce(s.stop_requested, FALSE), coalesce(s.request_seq, 0),
           s.auth_fingerprint
      FROM ha_instance i
 LEFT JOIN ha_instance_status s ON s.instance_id = i.id
  ORDER BY i.sequence, i.id
"""


@dataclass(frozen=True)
class InstanceConfig:
    """The committed configuration of one instance and what was asked of it."""

    id: int
    name: str
    active: bool
    link: LinkConfig = field(repr=False)
    entity_filter: EntityFilter
    filter_key: tuple  # identifies the filter
    problems: tuple[ConfigProblem, ...]
    confirmed: bool  # this database is not an unconfirmed copy
    stop_requested: bool
    request_seq: int
    auth_fingerprint: str | None

    @property
    def verdict_fingerprint(self) -> str:
        """Identifies what Home Assistant judged when it refused the token."""
        return _digest(self.link.url, self.link.token, self.link.verify_ssl)

    @property
    def fingerprint(self) -> str:
        """Changes whenever the link has to be made anew."""
        return _digest(self.verdict_fingerprint, self.filter_key, self.request_seq)

    @property
    def auth_failed(self) -> bool:
        """Whether Home Assistant refused exactly this configuration before."""
        return self.auth_fingerprint == self.verdict_fingerprint

    @property
    def wanted(self) -> bool:
        """Whether a link should be up for this instance."""
        return (
            self.active
            and self.confirmed
            and not self.problems
            and not self.stop_requested
            and not self.auth_failed
        )


def _digest(*values) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()[:32]


def read_instances(execute) -> list[InstanceConfig]:
    """Read every instance, archived ones included.

    :param execute: ``(query) -> list of rows``, e.g. :meth:`Lease.execute`
    """
    return [_from_row(*row) for row in execute(READ_SQL)]


def _from_row(
    id_, name, active, url, stored, verify_ssl, mode, domains, areas, labels, *rest
) -> InstanceConfig:
    try:
        token = token_vault.unseal(stored)
        problems = find_problems(url, token)
    except token_vault.TokenUnreadable:
        token = ""
        problems = [ConfigProblem(causes.TOKEN_UNREADABLE, "api_token", {})]
    words = split_words(domains)
    confirmed, stop_requested, request_seq, auth_fingerprint = rest
    return InstanceConfig(
        id=id_,
        name=name or "",
        active=bool(active),
        link=LinkConfig((url or "").strip(), (token or "").strip(), verify_ssl),
        entity_filter=EntityFilter(
            mode or "all", domains=words, area_ids=areas, label_ids=labels
        ),
        filter_key=(mode, sorted(words), areas, labels),
        problems=tuple(problems),
        confirmed=confirmed,
        stop_requested=stop_requested,
        request_seq=request_seq,
        auth_fingerprint=auth_fingerprint,
    )


def split_words(text: str | None) -> list[str]:
    """Split "light, switch" into its words."""
    return (text or "").replace(",", " ").replace(";", " ").lower().split()
