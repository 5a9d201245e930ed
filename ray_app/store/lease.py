"""The right to work on one brand, held by one run at a time."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from ray_app.errors import LeaseHeld, LeaseLost, StoreUnavailable
from ray_app.observe.log import get_logger
from ray_app.store.ledger import Holder, Ledger

log = get_logger(__name__)

# How often a run that waits for its turn looks again.
WAIT_STEP_S = 1.0


class Lease:
    """Holds a brand for the life of a ``with`` block, renewed by a thread, so long calls do not lose it.

    Raises LeaseHeld on entry when another living run has the brand. ``fence`` grows with every holder: a write with
    an old fence is refused (LeaseLost), so a run that was taken over can do no harm.
    """

    def __init__(
        self, ledger: Ledger, brand: str, *, label: str, ttl_s: float, wait_s: float = 0.0, seize: bool = False
    ) -> None:
        """``wait_s``: how long to wait for another run to end before LeaseHeld is raised.

        ``seize``: take the brand over from whatever run has it, but from one of the same label.
        """
        self._ledger = ledger
        self._brand = brand
        self._label = label
        self._ttl_s = ttl_s
        self._wait_s = wait_s
        self._take = ledger.seize if seize else ledger.acquire
        self._lost: LeaseLost | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease:{brand}", daemon=True)
        self.fence = 0

    def __enter__(self) -> Lease:
        self.fence = self._acquire(time.monotonic() + self._wait_s)
        self._thread.start()
        return self

    def _acquire(self, until: float) -> int:
        while True:
            try:
                return self._take(self._brand, Holder.current(self._label), time.time(), self._ttl_s)
            except LeaseHeld:
                if time.monotonic() >= until:
                    raise
            time.sleep(WAIT_STEP_S)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        try:
            self._ledger.release(self._brand, self.fence)
        except StoreUnavailable as problem:  # it frees itself; what the block did or raised is what counts
            log.warning("lease_not_released", brand=self._brand, free_in_s=self._ttl_s, error=str(problem))

    def check(self) -> None:
        """Raises LeaseLost when another run has taken the brand over."""
        if self._lost is not None:
            raise self._lost

    def confirm(self) -> None:
        """Like ``check``, but asks SQL: another run may have taken the brand over a moment ago."""
        self.check()
        self._ledger.renew(self._brand, self.fence, time.time(), self._ttl_s)

    def _renew(self) -> None:
        while not self._over.wait(self._ttl_s / 3):
            try:
                self._ledger.renew(self._brand, self.fence, time.time(), self._ttl_s)
            except LeaseLost as error:
                self._lost = error
                return
            except StoreUnavailable as error:
                log.warning("lease_not_renewed", brand=self._brand, error=str(error))  # the next turn may succeed
