"""The HTTP API as one function call: parts in, ASGI application out. Any ASGI server runs it."""

from __future__ import annotations

from fastapi import FastAPI

from ray_app import __version__
from ray_app.api import answers, crawls, operations, problems, tasks
from ray_app.api.middleware import BodyLimit, RequestContext
from ray_app.api.ports import Services


def create_app(services: Services) -> FastAPI:
    """The application over ``services``; holds no state of its own."""
    app = FastAPI(
        title="Backline",
        version=__version__,
        summary="Answers from brand support sites, with citations that hold.",
        docs_url=None,  # the framework's page loads its scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # a redirect would name the server's inner address
    )
    problems.install(app)
    app.include_router(answers.router(services))
    app.include_router(crawls.router(services))
    app.include_router(tasks.router(services))
    app.include_router(operations.router(services))
    app.add_middleware(BodyLimit, max_bytes=services.limits.max_body_bytes)
    app.add_middleware(RequestContext, metrics=services.metrics)  # added last, so it is the outermost
    return app
