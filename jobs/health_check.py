"""Ask the API how it is: database, index, reranker, language model, cache and disk.

ray job submit --working-dir . -- python jobs/health_check.py
"""

import sys

from ray_app.on_ray.jobs import main

if __name__ == "__main__":
    sys.exit(main("health_check"))
