"""Ray's Jobs API as the scheduler and the task endpoints use it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import ray
import requests
from ray.job_submission import JobStatus, JobSubmissionClient

from ray_app.config import Settings
from ray_app.errors import ClusterError, ClusterUnavailable
from ray_app.on_ray.named import ask, named

# The driver of a job mostly waits; its actors and tasks hold CPUs of their own.
DRIVER_CPUS = 0.0
_STATES = {
    JobStatus.PENDING: "running",
    JobStatus.RUNNING: "running",
    JobStatus.SUCCEEDED: "done",
    JobStatus.FAILED: "failed",
    JobStatus.STOPPED: "failed",
}


# Actors that need the Jobs API live on the head: the dashboard may listen on its loopback only.
ON_HEAD = {"node:__internal_head__": 0.001}
DESK = "job-desk"


class RayJobBoard:
    """Submits ``python -m ray_app.on_ray.jobs NAME ARGS``, the same code that ``jobs/NAME.py`` runs."""

    def __init__(self, settings: Settings) -> None:
        self._address = settings.ray.jobs_address or ray.get_runtime_context().gcs_address
        self._client: JobSubmissionClient | None = None

    def submit(self, submission_id: str, job: str, args: Sequence[str]) -> bool:
        """See schedule.runner.JobBoard."""
        try:
            self._connected().submit_job(
                entrypoint=shlex.join(["python", "-m", "ray_app.on_ray.jobs", job, *args]),
                submission_id=submission_id,
                entrypoint_num_cpus=DRIVER_CPUS or None,
                metadata={"job": job},
            )
        except requests.RequestException as error:
            raise self._lost() from error
        except RuntimeError as error:
            if self.state(submission_id) is not None:
                return False
            raise ClusterError(f"Ray refused job {submission_id}: {str(error).splitlines()[0]}") from error
        return True

    def state(self, submission_id: str) -> str | None:
        """See schedule.runner.JobBoard."""
        try:
            return _STATES[self._connected().get_job_status(submission_id)]
        except requests.RequestException as error:
            raise self._lost() from error
        except RuntimeError as error:
            if "does not exist" in str(error):
                return None
            raise self._lost() from error

    def _connected(self) -> JobSubmissionClient:
        if self._client is None:
            try:
                self._client = JobSubmissionClient(self._address)
            except (ConnectionError, RuntimeError) as error:
                raise self._lost() from error
        return self._client

    def _lost(self) -> ClusterUnavailable:
        self._client = None  # the head may come back elsewhere
        return ClusterUnavailable(
            "The Ray Jobs API cannot be reached.", hint="It comes with the dashboard of the head node."
        )


class RemoteJobBoard:
    """A JobBoard for processes that may run anywhere: its calls go through a named actor on the head."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def submit(self, submission_id: str, job: str, args: Sequence[str]) -> bool:
        """See schedule.runner.JobBoard."""
        return bool(self._call("submit", submission_id, job, list(args)))

    def state(self, submission_id: str) -> str | None:
        """See schedule.runner.JobBoard."""
        found: str | None = self._call("state", submission_id)
        return found

    def _call(self, method: str, *args: Any) -> Any:
        desk = ray.remote(RayJobBoard).options(**named(self._settings, DESK, resources=ON_HEAD)).remote(self._settings)
        return ask(self._settings, desk, method, *args, what="job desk")
