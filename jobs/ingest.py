"""Crawl, embed and publish brands.

ray job submit --working-dir . -- python jobs/ingest.py --brand NAME [--url URL]
"""

import sys

from ray_app.on_ray.jobs import main

if __name__ == "__main__":
    sys.exit(main("ingest"))
