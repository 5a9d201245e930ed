"""Write a backup of everything into one file; %Y, %m and %d in its name stand for the day.

ray job submit --working-dir . -- python jobs/backup.py /backups/backline-%Y%m%d.tar.zst
"""

import sys

from ray_app.on_ray.jobs import main

if __name__ == "__main__":
    sys.exit(main("backup"))
