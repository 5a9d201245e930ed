"""The ``backline`` program: what a person types. Each command lives in ``commands/``; heavy parts load when used."""

from __future__ import annotations

import sys

import typer

from ray_app import __version__
from ray_app.commands import answers, custody, evaluation, index, inspect, lane, recurring, system
from ray_app.commands.output import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, fail
from ray_app.errors import BacklineError, ConfigError, InputError, Interrupted

app = typer.Typer(
    name="backline",
    help="A support-center engine: crawls brand support sites, indexes them, answers with citations that hold.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (system, lane, answers, inspect, index, evaluation, recurring, custody):
    module.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    pass


def main() -> None:
    """Run the program; errors are told in words, never as a traceback."""
    try:
        app()
    except BacklineError as error:
        fail(error)
        sys.exit(_exit_code(error))


def _exit_code(error: BacklineError) -> int:
    if isinstance(error, Interrupted):
        return EXIT_INTERRUPTED
    return EXIT_USAGE if isinstance(error, InputError | ConfigError) else EXIT_FAILED


if __name__ == "__main__":
    main()
