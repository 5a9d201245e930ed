"""Remove page parts, staged vectors and generations that nothing points to.

ray job submit --working-dir . -- python jobs/cleanup.py
"""

import sys

from ray_app.on_ray.jobs import main

if __name__ == "__main__":
    sys.exit(main("cleanup"))
