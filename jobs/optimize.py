"""Give back space: old generations, vectors of none, stored texts that were replaced, free pages of the database.

ray job submit --working-dir . -- python jobs/optimize.py
"""

import sys

from ray_app.on_ray.jobs import main

if __name__ == "__main__":
    sys.exit(main("optimize"))
