"""A local cluster of two CPUs that lives until standard input ends. Prints its address."""

from __future__ import annotations

import sys

from ray_app.config import load
from ray_app.on_ray.session import start_local


def main() -> None:
    """See the module."""
    start_local(load(ray={"num_cpus": 2, "object_store_mb": 200}), dashboard=False)
    import ray  # only now: it reads the environment that on_ray has set

    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()
    ray.shutdown()


if __name__ == "__main__":
    main()
