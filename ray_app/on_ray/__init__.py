"""The ring of Ray round the lanes, and the only package that imports it."""

from ray_app.config import export

# Must be the same on every node and set before the cluster starts: without them the ingress costs five times as much.
CLUSTER_ENVIRONMENT = {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_ENABLE_HA_PROXY": "1"}
# What Ray reads when it is imported, and processes it starts inherit.
PROCESS_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TOKENIZERS_PARALLELISM": "false",
    # Each of torch's threads would keep an arena of its own: hundreds of MB in each process with a model.
    "MALLOC_ARENA_MAX": "2",
}

export(CLUSTER_ENVIRONMENT | PROCESS_ENVIRONMENT)  # a value that is set already stays
