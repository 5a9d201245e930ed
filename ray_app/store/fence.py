"""The lease rows: who may write for a brand. Each call runs inside the caller's transaction.

The fence grows with every acquisition, so a run that was taken over is known by its old number. Whoever
checks the fence locks the row until its transaction ends: a takeover waits for a commit under way.
"""

from __future__ import annotations

from sqlalchemy import Connection, RowMapping, select, update

from ray_app.errors import LeaseHeld, LeaseLost
from ray_app.store.db import insert
from ray_app.store.rows import Holder
from ray_app.store.schema import leases


def acquire(conn: Connection, brand: str, holder: Holder, now: float, ttl_s: float) -> int:
    """The new fence. Raises LeaseHeld while another living run holds an unexpired lease."""
    free = insert(conn, leases).values(brand=brand, fence=0).on_conflict_do_nothing()
    conn.execute(free)
    row = conn.execute(select(leases).where(leases.c.brand == brand).with_for_update()).mappings().one()
    if not _may_take(row, holder.host, now):
        raise _held(brand, row)
    return _take(conn, brand, int(row["fence"]) + 1, holder, now + ttl_s)


def seize(conn: Connection, brand: str, holder: Holder, now: float, ttl_s: float) -> int:
    """The new fence, whoever holds the brand, so that its run loses it: forgetting does not wait for crawls.

    Raises LeaseHeld while a living run of the same label holds it, for that one is not to be cut off.
    """
    conn.execute(insert(conn, leases).values(brand=brand, fence=0).on_conflict_do_nothing())
    row = conn.execute(select(leases).where(leases.c.brand == brand).with_for_update()).mappings().one()
    if row["label"] == holder.label and not _may_take(row, holder.host, now):
        raise _held(brand, row)
    return _take(conn, brand, int(row["fence"]) + 1, holder, now + ttl_s)


def renew(conn: Connection, brand: str, fence: int, now: float, ttl_s: float) -> None:
    """Puts the expiry off. Raises LeaseLost."""
    check(conn, brand, fence)
    conn.execute(update(leases).where(leases.c.brand == brand).values(expires_at=now + ttl_s))


def release(conn: Connection, brand: str, fence: int) -> None:
    """Frees the brand; nothing happens when it was taken over meanwhile."""
    conn.execute(
        update(leases).where(leases.c.brand == brand, leases.c.fence == fence).values(host="", pid=0, expires_at=0.0)
    )


def check(conn: Connection, brand: str, fence: int) -> None:
    """Raises LeaseLost unless ``fence`` is the one in force."""
    row = conn.execute(select(leases).where(leases.c.brand == brand).with_for_update()).mappings().one_or_none()
    if row is None or row["fence"] != fence or not row["host"]:
        taker = f" by {_holder(row)}" if row is not None and row["host"] else ""
        raise LeaseLost(f"The brand {brand} was taken over{taker}; this run stops.")


def wait_for_commits(conn: Connection, brand: str) -> None:
    """Until this transaction ends, no holder of the brand commits; who holds it does not matter."""
    conn.execute(insert(conn, leases).values(brand=brand, fence=0).on_conflict_do_nothing())
    conn.execute(select(leases.c.fence).where(leases.c.brand == brand).with_for_update())


def _take(conn: Connection, brand: str, fence: int, holder: Holder, expires_at: float) -> int:
    taken = {"fence": fence, "host": holder.host, "pid": holder.pid, "started": holder.started, "label": holder.label}
    conn.execute(update(leases).where(leases.c.brand == brand).values(**taken, expires_at=expires_at))
    return fence


def _held(brand: str, row: RowMapping) -> LeaseHeld:
    return LeaseHeld(
        f"The brand {brand} is held by {_holder(row)}.",
        hint="It is freed when that run ends, or soon after it dies.",
    )


def _may_take(row: RowMapping, host: str, now: float) -> bool:
    if not row["host"] or row["expires_at"] <= now:
        return True
    return bool(row["host"] == host) and not _holder(row).alive()


def _holder(row: RowMapping) -> Holder:
    return Holder(row["host"], row["pid"], row["started"], row["label"])
