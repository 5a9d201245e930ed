"""Actors that the whole cluster knows by name: made by whoever needs them first, started again for ever."""

from __future__ import annotations

from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from ray_app.config import Settings
from ray_app.errors import BacklineError, ClusterUnavailable


def named(settings: Settings, name: str, **more: Any) -> dict[str, Any]:
    """Options of such an actor. It holds no CPU unless ``more`` says so."""
    return {
        "name": name,
        "namespace": settings.ray.namespace,
        "lifetime": "detached",
        "get_if_exists": True,
        "num_cpus": 0,
        "max_restarts": -1,
        **more,
    }


def ask(settings: Settings, actor: Any, method: str, *args: Any, what: str) -> Any:
    """One call of a method that may be repeated. Raises what it raises, and ClusterUnavailable without an answer.

    ``what`` names the actor to a person.
    """
    try:
        return ray.get(getattr(actor, method).remote(*args), timeout=settings.ray.start_timeout_s)
    except RayTaskError as error:
        cause = error.cause
        raise (cause if isinstance(cause, BacklineError) else error) from error
    except (RayActorError, GetTimeoutError) as error:
        raise ClusterUnavailable(f"The {what} does not answer.", hint="Ray restarts it; try again.") from error
