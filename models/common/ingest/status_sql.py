"""What the writer notes about a link: its condition and the lines of its log.

``link`` is the writer's :class:`~.ingest_writer.WriterLink`.
"""

from psycopg2.extras import Json

from ....ha_client.buffer import Batch


def tell_backlog(cr, link, seconds: float) -> None:
    """The link is up, but what is shown is not what Home Assistant has."""
    dropped = link.buffer.dropped
    params = {"pending": link.buffer.pending, "seconds": round(seconds)}
    cr.execute(
        "UPDATE ha_instance_status SET state = 'syncing', cause = %s,"
        " params = %s WHERE instance_id = %s"
        " AND (state = 'connected' OR cause IN ('backlog', 'overflow'))",
        (
            "overflow" if dropped else "backlog",
            Json({**params, "dropped": dropped}),
            link.instance_id,
        ),
    )


def withdraw_backlog(cr, link) -> None:
    """What waited has been written."""
    cr.execute(
        "UPDATE ha_instance_status SET state = 'connected', cause = NULL,"
        " params = NULL WHERE instance_id = %s AND cause IN ('backlog', 'overflow')",
        (link.instance_id,),
    )


def write_status(cr, link, batch: Batch) -> None:
    """Write what a batch says of the link: log lines, version, condition."""
    for event in batch.events:
        cr.execute(
            "INSERT INTO ha_connection_event"
            " (instance_id, date, kind, cause, params, create_uid, create_date)"
            " VALUES (%s, to_timestamp(%s) AT TIME ZONE 'UTC', %s, %s, %s, 1,"
            " now() AT TIME ZONE 'UTC')",
            (link.instance_id, event.at, event.kind, event.cause, Json(event.params)),
        )
    if batch.config:
        cr.execute(
            "UPDATE ha_instance_status SET ha_version = %s, location_name = %s"
            " WHERE instance_id = %s",
            (
                batch.config.get("version"),
                batch.config.get("location_name"),
                link.instance_id,
            ),
        )
    report = batch.report
    if not report:
        return
    verdict = link.verdict_fingerprint if report.state == "auth_failed" else None
    error = None
    if report.state in ("waiting", "auth_failed"):
        error = Json({"cause": report.cause, "params": dict(report.params)})
    cr.execute(
        """
        UPDATE ha_instance_status
           SET state = %(state)s, cause = %(cause)s, params = %(params)s,
               retry_at = to_timestamp(%(retry_at)s) AT TIME ZONE 'UTC',
               auth_fingerprint = %(verdict)s,
               connected_since = CASE WHEN %(state)s <> 'connected' THEN NULL
                   ELSE coalesce(connected_since, now() AT TIME ZONE 'UTC') END,
               last_error = coalesce(%(error)s, last_error),
               connect_count = coalesce(connect_count, 0)
                   + (%(state)s = 'connected'
                       AND state IS DISTINCT FROM 'connected')::int,
               write_date = now() AT TIME ZONE 'UTC'
         WHERE instance_id = %(instance)s
        """,
        {
            "state": report.state,
            "cause": report.cause,
            "error": error,
            "params": Json(dict(report.params)),
            "retry_at": report.retry_at,
            "verdict": verdict,
            "instance": link.instance_id,
        },
    )
