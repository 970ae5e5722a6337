"""Loads the application's handlers: what `-r` names.

Ruby twin: Sidekiq::CLI#boot_application.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

from sidekiq_py import config as config_module
from sidekiq_py import user_code
from sidekiq_py.config import Config
from sidekiq_py.config_sources import read_code, values_of
from sidekiq_py.did_you_mean import did_you_mean
from sidekiq_py.errors import HandlersNotLoaded, InvalidConfig

HANDLER_NAMES: Final = ("handlers", "jobs")  # modules or packages that a directory is searched for

_NOT_HANDLERS = re.compile(r"(^|\.)(setup|manage|conftest|tests?|test_\w*|__main__)(\.|$)")


def load_handlers(require: str, *, chosen: bool) -> list[str]:
    """Import the handlers, so that they register, and say which modules they are in.

    `require` is a .py file, a directory or a dotted module; `chosen` is whether someone asked for it, or it
    is the default. A directory gives its `handlers.py`, `jobs.py` or packages of these names with all their
    modules; when it is a package, all its modules; when it was chosen and has none of these, every .py file
    in it. The directory of a file and the working directory become importable.

    Raises HandlersNotLoaded: `trace` holds the application's own error, without our frames.
    """
    _make_importable(Path.cwd())
    names = list(_module_names(require, chosen=chosen))
    for name in names:
        _import(name)
    return names


def configure_server(config: Config) -> None:
    """Run the functions under `@configure_server`.

    HandlersNotLoaded, with their trace, when one fails, or sets something to what it can't be.
    """
    before = values_of(config)
    try:
        config.apply_server_hooks()
        read_code(config, before)
    except InvalidConfig as error:
        raise HandlersNotLoaded(str(error), _trace(error.__cause__)) from None


def _module_names(require: str, *, chosen: bool) -> Iterator[str]:
    path = Path(require)
    if path.is_dir():
        yield from _in_directory(path.resolve(), chosen=chosen)
    elif path.suffix == ".py":
        if not path.is_file():
            near = did_you_mean(require, [str(file) for file in path.parent.glob("*.py")])
            raise HandlersNotLoaded(f"-r {require}: there is no such file in {Path.cwd()}{near}")
        yield _file(path.resolve())
    elif path.suffix == ".rb":
        raise HandlersNotLoaded(f"-r {require} is a Ruby file; give the Python file with your handlers")
    elif path.is_file() or "/" in require:
        raise HandlersNotLoaded(f"-r {require}: expected a .py file, a directory or a dotted module")
    else:
        yield from _with_submodules(require)


def _in_directory(directory: Path, *, chosen: bool) -> Iterator[str]:
    if (directory / "__init__.py").is_file():
        yield from _with_submodules(_file(directory / "__init__.py"))
        return
    _make_importable(directory)
    found = [name for name in HANDLER_NAMES if _is_module(directory, name)]
    for name in found:
        yield from _with_submodules(name)
    if found:
        return
    files = sorted(directory.glob("*.py")) if chosen else []
    files = [path for path in files if not _NOT_HANDLERS.search(path.stem)]
    if not files:
        raise HandlersNotLoaded(
            f"there is no handlers.py, jobs.py or package of these names in {directory}; "
            f"say where your handlers are, for example: sidekiq-py -r app/handlers.py"
        )
    for path in files:
        yield _file(path)


def _is_module(directory: Path, name: str) -> bool:
    return (directory / f"{name}.py").is_file() or (directory / name / "__init__.py").is_file()


def _file(path: Path) -> str:
    """The name to import a file by: dotted when it is in a package, so that it is imported once."""
    parts = [] if path.name == "__init__.py" else [path.stem]
    directory = path.parent
    while (directory / "__init__.py").is_file():
        parts.insert(0, directory.name)
        directory = directory.parent
    _make_importable(directory)
    name = ".".join(parts)
    loaded = getattr(sys.modules.get(name), "__file__", None)
    if name in sys.modules and (loaded is None or Path(loaded).resolve() != path):
        raise HandlersNotLoaded(f"{path} can't be imported: another module is called {name}; rename the file")
    return name


def _with_submodules(name: str) -> Iterator[str]:
    yield name
    module = _import(name)
    for found in pkgutil.walk_packages(getattr(module, "__path__", ()), prefix=f"{name}.", onerror=_import):
        if not _NOT_HANDLERS.search(found.name):
            yield found.name


def _import(name: str) -> object:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise HandlersNotLoaded(
                f"there is no module {error.name} in {Path.cwd()} or among the installed packages"
            ) from None
        raise HandlersNotLoaded(
            f"importing {name} failed with {type(error).__name__}: {error}", _trace(error)
        ) from None


def _trace(error: BaseException | None) -> str:
    if error is None:
        return ""
    return "".join(traceback.format_exception(type(error), error, _own_frames(error.__traceback__)))


def _own_frames(frames: TracebackType | None) -> TracebackType | None:
    """The traceback from the application's first line on."""
    while frames is not None and _is_machinery(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return frames


def _is_machinery(filename: str) -> bool:
    return filename.startswith("<frozen") or filename in (
        __file__,
        importlib.__file__,
        config_module.__file__,
        user_code.__file__,
    )


def _make_importable(directory: Path) -> None:
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))
