"""What options a command runs with, and where each comes from.

A value is looked for in this order: what was typed, the environment (`WBSYNC_*`), the nearest
`wbsync.toml` upward, the user's own file, the default. The first place that has it wins, whatever
it says there: an empty list or a `false` is a value. `--config FILE` stands for both files,
`--no-config` for none. Credentials are not configuration: `settings` finds them as the wandb SDK
does.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbsync.errors import ConfigError
from wbsync.model import ProjectPattern
from wbsync.tables import table_names
from wbsync.times import parse_duration, parse_instant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

FILE_NAME = "wbsync.toml"
MAX_CONCURRENCY = 32


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """One source that a file lists, with the options that are its own; None where it has none."""

    path: str
    """ENTITY/PROJECT, ENTITY/GLOB or ENTITY."""
    filter: Mapping[str, Any] | str | None = None
    since: str | None = None
    only: tuple[str, ...] | None = None
    skip: tuple[str, ...] | None = None
    logs: bool | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a file that cannot be used."""

    file: str
    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}: {self.key}: {self.text}" if self.key else f"{self.file}: {self.text}"


@dataclass(frozen=True, slots=True)
class Setting:
    """A value, and where it was found."""

    value: Any
    origin: str
    is_of_project: bool = False
    """Whether only the nearest file says it, which lies in a folder that others may have made."""


@dataclass(frozen=True, slots=True)
class Key:
    """An option that files and the environment may set."""

    name: str
    """Its name in files; a dot leads into a table."""
    read: Callable[[Any, Path], Any]
    """Takes what a file says and the file's folder; raises ValueError with what is expected."""
    about: str
    default: Any = None
    variables: tuple[str, ...] = ()
    """Environment variables that set it, the first that is set wins."""
    decode: Callable[[str], Any] = str
    """Turns a variable's text into what a file would hold."""


class Configuration:
    """The options that are in force."""

    def __init__(self, settings: dict[str, Setting], files: tuple[Path, ...]) -> None:
        """Takes every key's setting, and the files that were read."""
        self.settings = settings
        self.files = files

    def __getitem__(self, name: str) -> Any:
        """Returns the value of a key."""
        return self.settings[name].value


def resolve(
    flags: Mapping[str, Any],
    *,
    config: Path | None = None,
    no_config: bool = False,
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
    user_dir: Path | None = None,
) -> Configuration:
    """Returns the options that are in force.

    Args:
        flags: Key to value of what was typed; what was not typed must not be in it.
        config: The one file to read.
        no_config: Read no file.
        environ: The environment.
        cwd: Where to look for wbsync.toml, and upward; None is the working folder.
        user_dir: Folder of the user's own file; None is the platform's.

    Raises:
        ConfigError: A file or a variable holds what cannot be used.
    """
    folder = (cwd or Path.cwd()).resolve()
    near, user = (None, None) if no_config else find_files(config, folder, user_dir)
    files = [path for path in (near, user) if path is not None]
    contents = [read_file(path) for path in files]
    problems = [p for content in contents for p in content.problems]
    if problems:
        more = f" ({len(problems) - 1} more: wbsync config validate)" if problems[1:] else ""
        raise ConfigError(f"{problems[0]}{more}")
    settings = {}
    for key in KEYS:
        found = Setting(flags[key.name], "the command line") if key.name in flags else None
        found = found or _from_environment(key, environ, folder)
        for path, content in zip(files, contents, strict=True):
            if found is None and key.name in content.values:
                value = content.values[key.name]
                of_user = [c.values.get(key.name) for c in contents[1:]]
                is_foreign = path == near and config is None and value not in of_user
                found = Setting(value, str(path), is_of_project=is_foreign)
        settings[key.name] = found or Setting(key.default, "default")
    if settings["warehouse"].value is None:
        settings["warehouse"] = Setting(_default_warehouse(near), "default")
    return Configuration(settings, tuple(files))


def warehouse_dir(
    option: str | Path | None = None,
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
) -> Path:
    """Returns the warehouse's folder, which need not exist.

    Raises:
        ConfigError: It is not named here or in the environment, and a file cannot be used.
    """
    chosen = option or environ.get("WBSYNC_WAREHOUSE")
    if chosen:
        return Path(chosen).expanduser().resolve()
    return Path(resolve({}, environ=environ, cwd=cwd)["warehouse"])


def find_files(
    config: Path | None, cwd: Path, user_dir: Path | None = None
) -> tuple[Path | None, Path | None]:
    """Returns the nearest file and the user's own, None where there is none.

    Args:
        config: The one file to read, in place of those that are found.
        cwd: Where to look for wbsync.toml, and upward.
        user_dir: Folder of the user's own file; None is the platform's.
    """
    if config is not None:
        return config.expanduser().resolve(), None
    candidates = (folder / FILE_NAME for folder in (cwd, *cwd.parents))
    near = next((path for path in candidates if path.is_file()), None)
    if user_dir is None:
        import platformdirs

        user_dir = Path(platformdirs.user_config_dir("wbsync", appauthor=False))
    user_file = user_dir / "config.toml"
    return near, user_file if user_file.is_file() else None


def _default_warehouse(near: Path | None) -> Path:
    """Returns a folder beside the nearest file, or one in the user's data folder."""
    if near is not None:
        return near.parent / ".wbsync"
    import platformdirs

    return Path(platformdirs.user_data_dir("wbsync")) / "default"


def _from_environment(key: Key, environ: Mapping[str, str], folder: Path) -> Setting | None:
    """Returns what the environment says of a key; an empty variable says nothing."""
    for name in key.variables:
        text = environ.get(name, "")
        if not text.strip():
            continue
        try:
            return Setting(key.read(key.decode(text.strip()), folder), name)
        except ValueError as error:
            raise ConfigError(f"{name}: {error}, not {text!r}") from None
    return None


def _as_flag(text: str) -> Any:
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    return words.get(text.lower(), text)


def _as_number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _as_list(text: str) -> Any:
    return text.replace(",", " ").split()


@dataclass(slots=True)
class FileContent:
    """What a file says, and what in it cannot be used."""

    values: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read_file(path: Path) -> FileContent:
    """Returns what a configuration file says; what cannot be used is a problem, not an error."""
    content = FileContent()
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        content.problems.append(Problem(str(path), "", str(error)))
        return content
    except OSError as error:
        content.problems.append(Problem(str(path), "", error.strerror or "cannot be read"))
        return content
    if "source" in table:
        listed = table.pop("source")
        if "sources" not in table:
            table["sources"] = listed
        elif isinstance(listed, list) and isinstance(table["sources"], list):
            table["sources"] = [*table["sources"], *listed]
    known = {key.name: key for key in KEYS}
    for name, value in _flattened(table, {n.partition(".")[0] for n in known if "." in n}):
        key = known.get(name)
        if key is None:
            text = f"unknown key {name!r}; {_hint(name, (*known, 'source'))}"
            content.problems.append(Problem(str(path), "", text))
            continue
        try:
            content.values[name] = key.read(value, path.parent)
        except SourceProblemsError as error:
            content.problems += [replace(p, file=str(path)) for p in error.problems]
        except ValueError as error:
            content.problems.append(Problem(str(path), name, str(error)))
    return content


def _flattened(table: dict[str, Any], sections: set[str]) -> Iterable[tuple[str, Any]]:
    """Yields dotted key and value; only the sections that are known are gone into."""
    for name, value in table.items():
        if name in sections and isinstance(value, dict):
            yield from ((f"{name}.{inner}", v) for inner, v in value.items())
        else:
            yield name, value


def _hint(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, 1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}"


class SourceProblemsError(ValueError):
    """Sources cannot be used; holds every problem."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(f"{p.key}: {p.text}" for p in problems))
        self.problems = problems


def _text(value: Any, _folder: Path) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be a text")
    return value


def _path(value: Any, folder: Path) -> Path:
    return (folder / Path(_text(value, folder)).expanduser()).resolve()


def _flag(value: Any, _folder: Path) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004
    return value


def _positive(value: Any, _folder: Path) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError("must be a whole number of at least 1")
    return value


def _concurrency(value: Any, folder: Path) -> int:
    try:
        if _positive(value, folder) <= MAX_CONCURRENCY:
            return int(value)
    except ValueError:
        pass
    raise ValueError(f"must be a whole number from 1 to {MAX_CONCURRENCY}")


def _minutes(value: Any, _folder: Path) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 < value < float("inf"):
        raise ValueError("must be a number above 0")
    return float(value)


def _interval(value: Any, _folder: Path) -> timedelta:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    try:
        found = parse_duration(value) if isinstance(value, str) else timedelta(0)
    except ConfigError:
        found = timedelta(0)
    if not found:
        raise ValueError('must be a duration like "60s" or "5m"')
    return found


def _sources(value: Any, folder: Path) -> tuple[SourceEntry, ...]:
    if not isinstance(value, list):
        raise ValueError('must be a list like ["my-team/my-project"], or [[source]] tables')  # noqa: TRY004
    entries: list[SourceEntry] = []
    problems: list[Problem] = []
    for number, item in enumerate(value, 1):
        place = f"source[{number}]"
        table = {"path": item} if isinstance(item, str) else item
        if not isinstance(table, dict):
            raise ValueError('must be a list like ["my-team/my-project"], or [[source]] tables')  # noqa: TRY004
        found: dict[str, Any] = {}
        for name, inner in table.items():
            read = SOURCE_KEYS.get(name)
            if read is None:
                text = f"unknown key {name!r}; {_hint(name, SOURCE_KEYS)}"
                problems.append(Problem("", place, text))
                continue
            try:
                found[name] = read(inner, folder)
            except ValueError as error:
                problems.append(Problem("", f"{place}.{name}", str(error)))
        if "path" not in table:
            problems.append(Problem("", place, 'must have a path like "my-team/my-project"'))
        elif "path" in found:
            entries.append(SourceEntry(**found))
    if problems:
        raise SourceProblemsError(problems)
    return tuple(entries)


def _source_path(value: Any, folder: Path) -> str:
    try:
        return str(ProjectPattern.parse(_text(value, folder)))
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _filter(value: Any, _folder: Path) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError('must be a table like { state = "finished" }')  # noqa: TRY004
    return value


def _since(value: Any, _folder: Path) -> str:
    if isinstance(value, date):  # TOML has dates and instants of its own
        value = value.isoformat()
    if not isinstance(value, str):
        raise ValueError('must be a time like "30d", 2026-01-31 or 2026-01-31T12:00:00Z')  # noqa: TRY004
    try:
        parse_instant(value, datetime.now(UTC))
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return value


def _tables(value: Any, _folder: Path) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise ValueError('must be a list of tables like ["history"]')
    for name in value:
        if name not in table_names():
            raise ValueError(f"there is no table {name!r}; {_hint(name, table_names())}")
    return tuple(value)


SOURCE_KEYS: dict[str, Callable[[Any, Path], Any]] = {
    "path": _source_path,
    "filter": _filter,
    "since": _since,
    "only": _tables,
    "skip": _tables,
    "logs": _flag,
}
"""Options of a source."""

KEYS = (
    Key("warehouse", _path, "Folder of the warehouse.", None, ("WBSYNC_WAREHOUSE",)),
    Key(
        "sources", _sources, "What `wbsync sync` alone syncs; or [[source]] tables.", (),
        ("WBSYNC_SOURCES",), _as_list,
    ),
    Key("base_url", _text, "W&B server.", None, ("WBSYNC_BASE_URL", "WANDB_BASE_URL")),
    Key(
        "concurrency", _concurrency, "Requests and downloads in flight.", 4,
        ("WBSYNC_CONCURRENCY",), _as_number,
    ),
    Key("logs", _flag, "Whether console output is synced, too.", False, ("WBSYNC_LOGS",), _as_flag),
    Key(
        "max_requests", _positive, "Requests after which a sync stops.", None,
        ("WBSYNC_MAX_REQUESTS",), _as_number,
    ),
    Key(
        "max_minutes", _minutes, "Minutes after which a sync stops.", None,
        ("WBSYNC_MAX_MINUTES",), _as_number,
    ),
    Key(
        "watch_interval", _interval, "How long `wbsync sync --watch` waits between two syncs.",
        timedelta(seconds=60), ("WBSYNC_WATCH_INTERVAL",),
    ),
    Key("queries.path", _path, "Folder of your own named queries.", None, ("WBSYNC_QUERIES_PATH",)),
    Key(
        "publish.storage_version", _text, "DuckDB's format of warehouse.duckdb.", None,
        ("WBSYNC_PUBLISH_STORAGE_VERSION",),
    ),
    Key(
        "publish.materialize", _flag, "Whether the rows of history are in warehouse.duckdb.", None,
        ("WBSYNC_PUBLISH_MATERIALIZE",), _as_flag,
    ),
)  # fmt: skip
"""All options, in the order in which they are shown."""
