"""Ends what is left of a local cluster when the process that started it is gone.

Ray's processes end with their starter, even when it is killed, but two of its agents first try for a minute and more
to tell the dead cluster about it. Run as a plain script that imports next to nothing; standard input is a pipe that
only the starter holds open, the arguments are processes as PID:CREATE_TIME.
"""

import os
import sys
import time

import psutil

# Ray's processes end within two seconds; replicas that drain their requests may take longer.
GRACE_S = 5.0


def main(processes: list[str]) -> None:
    """Wait for the starter's end, then for a while, then kill those of the processes that still run."""
    os.setsid()
    while os.read(0, 1):
        pass
    time.sleep(GRACE_S)
    for entry in processes:
        pid, created = entry.split(":")
        try:
            process = psutil.Process(int(pid))
            if str(process.create_time()) == created:  # else the number was given to another program
                process.kill()
        except psutil.NoSuchProcess:
            continue


if __name__ == "__main__":
    main(sys.argv[1:])
