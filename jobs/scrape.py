"""Crawl brands into the page store.

ray job submit --working-dir . -- python jobs/scrape.py --brand NAME [--url URL] [--full]
"""

import sys

from ray_app.on_ray.jobs import main

if __name__ == "__main__":
    sys.exit(main("scrape"))
