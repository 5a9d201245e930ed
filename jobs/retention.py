"""Delete tasks and schedule runs that are past their time.

ray job submit --working-dir . -- python jobs/retention.py
"""

import sys

from ray_app.on_ray.jobs import main

if __name__ == "__main__":
    sys.exit(main("retention"))
