"""The true condition of a link, from what each witness says; pure.

The owner reports what it does, the lease tells whether there is an owner, the
heartbeat whether its link lives, the configuration whether anybody wants it. Each
can be out of date; together they cannot.
"""

HEARTBEAT_LIMIT_S = 30.0
# Causes that no owner reports.
INACTIVE = "inactive"
DATABASE_COPIED = "database_copied"
STOP_REQUESTED = "stop_requested"
UNSUPERVISED = "unsupervised"
NO_HEARTBEAT = "no_heartbeat"


def true_condition(config, owned, reported, cause, params, connected_for, beat_age):
    """What state to show for an instance, and why.

    :param config: its :class:`~..supervision.instance_config.InstanceConfig`
    :param owned: whether a process holds its lease
    :param reported: the state in its status row, with ``cause`` and ``params``
    :param connected_for: seconds since it was connected; None when it is not
    :param beat_age: seconds since the last heartbeat; None without any
    :return: state (as ``ha.instance.connection_state``), cause, params
    """
    if config.problems:
        problem = config.problems[0]
        return "unconfigured", problem.cause, dict(problem.params)
    if not config.active:
        return "stopped", INACTIVE, {}
    if not config.confirmed:
        return "stopped", DATABASE_COPIED, {}
    if config.stop_requested:
        return "stopped", STOP_REQUESTED, {}
    if config.auth_failed:
        return "auth_failed", cause, params
    if not owned:
        return "unsupervised", UNSUPERVISED, {}
    if reported in (None, "stopped", "auth_failed"):
        return "connecting", None, {}  # an owner has just taken it over
    fresh = connected_for is not None and connected_for < HEARTBEAT_LIMIT_S
    if reported == "connected" and not fresh:
        if beat_age is None or beat_age > HEARTBEAT_LIMIT_S:
            return "waiting", NO_HEARTBEAT, {"age": int(beat_age or 0)}
    return reported, cause, params or {}
