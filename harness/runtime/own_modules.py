"""Finds the user's own modules that a module imports, directly or indirectly, without running any code."""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.util
import pkgutil
import site
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Iterable, Iterator, Mapping
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

_NOT_OWN = {"harness", "hydra_plugins", "keras", "tensorflow"}
_HARNESS = Path(__file__).parents[1]
_IMPORT_FUNCTIONS = ("import_module", "__import__")


_digests: dict[tuple[str, ...], tuple[dict[str, Path], list, str]] = {}


def own_modules(name: str) -> dict[str, Path]:
    """Return the files of a module, of its packages, and of all modules that these import, by module name.

    Imports count wherever they appear, even in functions that may never be called. Modules of the standard library, of
    other installed packages, of Keras and of the harness are left out, along with everything they import.
    """
    found: dict[str, Path] = {}
    waiting, seen = [*_with_packages(name)], set[str]()
    while waiting:
        each = waiting.pop()
        if each in seen:
            continue
        seen.add(each)
        spec = _find(each)
        if spec and spec.origin and _is_own(each, Path(spec.origin), name):
            found[each] = Path(spec.origin)
            waiting += _imports(each, spec)
    return dict(sorted(found.items()))


def is_installed(name: str) -> bool:
    """Return True if a module is in the standard library or in an installed package that is not editable."""
    spec = _find(name)
    return spec is not None and spec.origin is not None and _is_installed(Path(spec.origin))


def explain(error: Exception) -> str:
    """Return an error's type and message, and the file and line of the innermost frame in the user's own code."""
    name = " ".join(f"{type(error).__name__}: {error}".split())
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_file() and not _is_installed(path) and not path.is_relative_to(_HARNESS):
            here = Path.cwd()
            return f"{name} ({path.relative_to(here) if path.is_relative_to(here) else path}, line {frame.lineno})"
    return name


def imported_packages(files: Iterable[Path]) -> set[str]:
    """Return the top-level names that source files import, other than those of the standard library."""
    found: set[str] = set()
    for path in files:
        spec = importlib.util.spec_from_file_location("_", path)
        found |= {each.partition(".")[0] for each in _imports("_", spec)} if spec else set()
    return found - {*sys.stdlib_module_names, "_", ""}


def source_digest(name: str) -> str:
    """Return a digest of the files that `own_modules` returns; the files are read again when one of them changes."""
    key = (name, *sys.path)
    files, stamps, digest = _digests.get(key, ({}, [], ""))
    if not files or stamps != _stamps(files):
        files = own_modules(name)
        stamps = _stamps(files)
        contents = hashlib.blake2b(digest_size=16)
        for module, path in files.items():
            with contextlib.suppress(OSError):
                content = path.read_bytes()
                contents.update(f"{module} {len(content)} ".encode() + content)
        digest = contents.hexdigest()
        _digests[key] = files, stamps, digest
    return digest


def _stamps(files: Mapping[str, Path]) -> list[tuple[int, ...]]:
    """Return a value that changes when the content of a file changes."""
    stamps = []
    for path in files.values():
        with contextlib.suppress(OSError):
            status = path.stat()
            stamps.append((status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return stamps


def _imports(name: str, spec: ModuleSpec) -> Iterator[str]:
    """Yield the names of all modules, or possible modules, that a module imports."""
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(Path(spec.origin or "").read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):  # The module is compiled, or is broken.
        return
    package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_packages(alias.name)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".") if node.level else []
            above = parts[: len(parts) - node.level + 1]
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from _with_packages(module)
            for alias in node.names:
                yield from _submodules(module) if alias.name == "*" else [f"{module}.{alias.name}"]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function, argument = node.func, node.args[0].value
            called = getattr(function, "attr", getattr(function, "id", ""))
            if called in _IMPORT_FUNCTIONS and isinstance(argument, str):
                with contextlib.suppress(ImportError):
                    yield from _with_packages(importlib.util.resolve_name(argument, package))


def _with_packages(name: str) -> Iterator[str]:
    """Yield a module's packages, outermost first, then the module."""
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _submodules(package: str) -> Iterator[str]:
    spec = _find(package)
    for module in pkgutil.iter_modules(spec.submodule_search_locations or []) if spec else ():
        yield f"{package}.{module.name}"


def _find(name: str) -> ModuleSpec | None:
    """Locate a module without importing its packages; None if it is not found."""
    parent, _, last = name.rpartition(".")
    try:
        if not parent:
            module = sys.modules.get(name)
            return _spec_of_main() if name == "__main__" else getattr(module, "__spec__", None) or _top_level(name)
        package = _find(parent)
        locations = package.submodule_search_locations if package else None
        # Look it up by its last name, because a namespace package would look for its parent among the imported modules.
        return PathFinder.find_spec(last, [*locations]) if locations is not None else None
    except (ImportError, AttributeError, ValueError):
        return None


def _top_level(name: str) -> ModuleSpec | None:
    return importlib.util.find_spec(name) if name.isidentifier() else None


def _spec_of_main() -> ModuleSpec | None:
    file = getattr(sys.modules["__main__"], "__file__", None)
    return importlib.util.spec_from_file_location("__main__", file) if file else None


def _is_own(name: str, path: Path, first: str) -> bool:
    """Return True if a module belongs to the same package as the `first` one, or to no installed package."""
    package = name.partition(".")[0]
    if package in _NOT_OWN or not path.is_file():
        return False
    return not _is_installed(path) or package == first.partition(".")[0]


def _is_installed(path: Path) -> bool:
    resolved = path.resolve()
    return any(resolved.is_relative_to(folder) for folder in _installed())


@functools.cache
def _installed() -> set[Path]:
    """Return the folders of the standard library and of installed packages."""
    paths = sysconfig.get_paths()
    names = [paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    return {Path(name).resolve() for name in [*names, *site.getsitepackages(), site.getusersitepackages()]}
