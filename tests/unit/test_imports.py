"""Who may import whom. The table is the architecture; this test reads every file and holds it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ray_app"

# Part of ray_app -> the parts it may import besides itself. "ports": only modules of that name.
BASE = {"records", "errors"}
SHARED = BASE | {"config", "observe", "breaker"}
LANE = SHARED | {"store", "index"}
EVERYTHING = LANE | {"ingest", "answer", "schedule", "evaluate", "api", "testing", "demo"}
ALLOWED: dict[str, set[str]] = {
    "records": set(),
    "errors": set(),
    "config": BASE,
    "observe": BASE,
    "breaker": set(),
    "store": SHARED,
    "index": SHARED | {"store"},
    "ingest": LANE,
    "answer": LANE,
    "schedule": LANE,
    "evaluate": LANE | {"answer"},
    "api": BASE | {"observe", "answer", "ports"},
    "testing": BASE | {"ports"},
    "demo": BASE | {"ports", "testing"},
    "on_ray": EVERYTHING,
    # The command line is the outermost ring: it shows what the inner parts hold, and leaves Ray to on_ray.
    "commands": EVERYTHING - {"api"} | {"on_ray"},
    "cli": SHARED | {"commands", "on_ray"},
    "jobs": SHARED | {"on_ray"},
}

# Outside libraries that only the files named here may import.
HEAVY: dict[str, set[str]] = {
    "torch": {"index/embedder.py", "index/precision.py", "answer/rerank.py"},
    "sentence_transformers": {"index/embedder.py", "answer/rerank.py"},
    "transformers": {"index/embedder.py", "answer/rerank.py"},
    "chromadb": {"index/chroma.py"},
    "lance": set(),
    "lancedb": set(),
}
STDLIB_ONLY = {"records", "errors"}


@dataclass(frozen=True)
class Import:
    module: str  # dotted, as written
    line: int
    lazy: bool  # inside a function, so importing the file does not import it


@dataclass(frozen=True)
class Source:
    part: str  # key of ALLOWED
    path: str  # relative to ray_app, or jobs/...
    tree: ast.Module


def part_of(path: Path) -> str:
    top = path.parts[0].removesuffix(".py")
    return "cli" if top == "cli" or top.startswith("cli_") else top


def sources() -> Iterator[Source]:
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE)
        if relative.as_posix() != "__init__.py":
            yield Source(part_of(relative), relative.as_posix(), ast.parse(path.read_text("utf-8")))
    for path in sorted((ROOT / "jobs").glob("*.py")):
        yield Source("jobs", f"jobs/{path.name}", ast.parse(path.read_text("utf-8")))


def imports(tree: ast.AST, *, lazy: bool = False) -> Iterator[Import]:
    """Every import that can run: ``if TYPE_CHECKING`` is left out, import_module("x") counts."""
    for node in ast.iter_child_nodes(tree):
        inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from (found for child in node.orelse for found in imports(child, lazy=inside))
            continue
        yield from (Import(module, node.lineno, inside) for module in named_by(node))
        yield from imports(node, lazy=inside)


def named_by(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        if node.level:
            return ["." * node.level + (node.module or "")]
        module = node.module or ""
        # "from ray_app import errors" and "from ray_app.index import ports" name a module each
        deep = module == "ray_app" or (module.count(".") == 1 and module.startswith("ray_app."))
        return [f"{module}.{alias.name}" for alias in node.names] if deep else [module]
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = ast.unparse(node.func).rpartition(".")[2]
        if called in ("import_module", "__import__"):
            return [str(node.args[0].value)]
    return []


def complaints(source: Source) -> list[str]:
    found = []
    for item in imports(source.tree):
        if problem := judge(source, item):
            found.append(f"{source.path}:{item.line}: {problem}")
    return found


def judge(source: Source, item: Import) -> str:
    """Why an import is wrong, or "" when it is right."""
    top, _, rest = item.module.partition(".")
    if not top:
        return "relative imports hide who imports whom"
    return judge_own(source, rest) if top == "ray_app" else judge_outside(source, top, lazy=item.lazy)


def judge_outside(source: Source, top: str, *, lazy: bool) -> str:
    if source.part in STDLIB_ONLY and top not in sys.stdlib_module_names:
        return f"{source.part} uses the standard library only, not {top}"
    if top == "ray" and source.part != "on_ray":
        return "only on_ray imports ray"
    if top in HEAVY and source.path not in HEAVY[top]:
        return f"{top} is imported only by {sorted(HEAVY[top])}"
    if top in HEAVY and not lazy:
        return f"{top} is heavy: import it inside the function that needs it"
    return ""


def judge_own(source: Source, rest: str) -> str:
    parts = rest.split(".")
    target = part_of(Path(parts[0] or "__init__"))
    allowed = ALLOWED[source.part]
    if target in ("__init__", "__version__") or target == source.part or target in allowed:
        return ""
    if "ports" in allowed and "ports" in parts[1:]:
        return ""
    return f"{source.part} must not import ray_app.{rest}"


def test_every_file_keeps_to_the_table() -> None:
    broken = [line for source in sources() for line in complaints(source)]
    assert not broken, "\n".join(broken)


def test_the_table_names_every_part() -> None:
    assert {source.part for source in sources()} <= set(ALLOWED)
    named = {name for allowed in ALLOWED.values() for name in allowed} - {"ports"}
    assert named <= set(ALLOWED)


def test_only_config_reads_the_environment() -> None:
    readers = {
        f"{source.path}:{node.lineno}"
        for source in sources()
        if source.path != "config.py"
        for node in ast.walk(source.tree)
        if reads_environment(node)
    }
    assert not readers


def reads_environment(node: ast.AST) -> bool:
    """os.getenv, os.environ.get and os.environ[...]; setting a variable for a child is no read."""
    if isinstance(node, ast.Call):
        return ast.unparse(node.func) in ("os.getenv", "os.environ.get", "environ.get", "getenv")
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        return ast.unparse(node.value) in ("os.environ", "environ")
    return False


@pytest.mark.parametrize(
    ("path", "text", "complaint"),
    [
        ("answer/x.py", "from ray_app.ingest.urls import normalise", "answer must not import"),
        ("ingest/x.py", "from ray_app import schedule", "ingest must not import"),
        ("ingest/x.py", "import ray_app.answer.fuse", "ingest must not import"),
        ("store/x.py", "def f():\n    from ray_app.index import ports", "store must not import"),
        ("api/x.py", "from ray_app.index.reader import IndexReader", "api must not import"),
        ("answer/x.py", "import ray", "only on_ray"),
        ("answer/x.py", "import importlib\nimportlib.import_module('ray.serve')", "only on_ray"),
        ("cli.py", "import ray", "only on_ray"),
        ("cli_extra.py", "from ray_app.store.db import Database", "cli must not import"),
        ("records.py", "import numpy", "standard library only"),
        ("index/chroma.py", "import chromadb", "heavy"),
        ("index/reader.py", "def f():\n    import chromadb", "imported only by"),
        ("index/reader.py", "from .ports import Embedder", "relative"),
    ],
)
def test_a_wrong_import_is_found(path: str, text: str, complaint: str) -> None:
    (found,) = complaints(Source(part_of(Path(path)), path, ast.parse(text)))
    assert complaint in found


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("api/x.py", "from ray_app.index import ports\nfrom ray_app.index.ports import Embedder"),
        ("testing/x.py", "from ray_app.answer.ports import Cache"),
        ("on_ray/x.py", "import ray\nfrom ray import serve\nfrom ray_app.ingest.urls import normalise"),
        ("index/chroma.py", "class A:\n    def __init__(self):\n        import chromadb"),
        ("index/x.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
        ("cli.py", "from ray_app import __version__\nfrom ray_app.on_ray.session import connect"),
    ],
)
def test_a_right_import_is_left_alone(path: str, text: str) -> None:
    assert complaints(Source(part_of(Path(path)), path, ast.parse(text))) == []


@pytest.mark.parametrize("text", ["os.getenv('A')", "os.environ['A']", "x = os.environ.get('A', '')"])
def test_a_read_of_the_environment_is_found(text: str) -> None:
    assert any(reads_environment(node) for node in ast.walk(ast.parse(text)))


@pytest.mark.parametrize("text", ["os.environ['A'] = 'b'", "run(env={**os.environ, 'A': 'b'})"])
def test_setting_the_environment_of_a_child_is_no_read(text: str) -> None:
    assert not any(reads_environment(node) for node in ast.walk(ast.parse(text)))
