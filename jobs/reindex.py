"""Cut, tokenise and publish stored texts anew, without crawling.

ray job submit --working-dir . -- python jobs/reindex.py --brand NAME [--embed-anew]
"""

import sys

from ray_app.on_ray.jobs import main

if __name__ == "__main__":
    sys.exit(main("reindex"))
