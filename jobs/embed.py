"""Embed what was crawled and publish it.

ray job submit --working-dir . -- python jobs/embed.py --brand NAME
"""

import sys

from ray_app.on_ray.jobs import main

if __name__ == "__main__":
    sys.exit(main("embed"))
