"""Every error explains itself, survives pickle, and stands in the tree drawn on top of errors.py."""

from __future__ import annotations

import copy
import pickle
import re

import pytest

from ray_app import errors
from ray_app.errors import BacklineError, LeaseHeld


def tree(root: type[BacklineError]) -> list[type[BacklineError]]:
    return [root] + [found for child in root.__subclasses__() for found in tree(child)]


def defined() -> list[type[BacklineError]]:
    """Classes of errors.py, parents before children; other test files may subclass for their own ends."""
    return [cls for cls in tree(BacklineError) if cls.__module__ == errors.__name__]


def drawn() -> list[tuple[str, str, bool]]:
    """(name, parent, retry) of every line of the drawing."""
    found: list[tuple[str, str, bool]] = []
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"^((?:[│ ]   )*)(?:[├└]── )?(\w+)(.*)$", line):
            if not (line.startswith(("│", "├", "└", " ")) or match[2] == "BacklineError"):
                continue
            depth = len(match[1]) // 4 + ("── " in line)
            path = [*path[:depth], match[2]]
            found.append((match[2], path[-2] if depth else "", "(retry)" in match[3]))
    return found


@pytest.mark.parametrize("cls", defined())
def test_the_first_docstring_line_is_the_default_message(cls: type[BacklineError]) -> None:
    assert cls.__doc__
    assert cls().message == cls.__doc__.strip().splitlines()[0]
    assert str(cls()) == cls().message


@pytest.mark.parametrize("cls", defined())
@pytest.mark.parametrize("carry", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
def test_an_error_survives_the_trip_to_another_process(cls: type[BacklineError], carry: object) -> None:
    sent = cls("It broke.", hint="Mend it.")
    got = carry(sent)  # type: ignore[operator]
    assert type(got) is cls
    assert (got.message, got.hint, got.retryable, got.kind) == ("It broke.", "Mend it.", cls.retryable, cls.kind)
    assert str(got) == "It broke. Mend it."


def test_a_default_message_survives_too() -> None:
    assert str(pickle.loads(pickle.dumps(LeaseHeld()))) == str(LeaseHeld())


def test_the_drawing_is_the_tree() -> None:
    real = {(cls.__name__, cls.__bases__[0].__name__ if cls is not BacklineError else "") for cls in defined()}
    assert {(name, parent) for name, parent, _ in drawn()} == real


def test_the_drawing_says_which_errors_a_retry_can_help() -> None:
    assert {name for name, _, retry in drawn() if retry} == {cls.__name__ for cls in defined() if cls.retryable}


def test_kinds_are_unique_and_stable() -> None:
    kinds = [cls.kind for cls in defined()]
    assert len(set(kinds)) == len(kinds)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", kind) for kind in kinds)
