"""Where the key and the server come from.

Credentials follow the wandb SDK's own order: argument, `WANDB_API_KEY`, netrc, settings file.
Source: wandb/sdk/lib/wbauth/authenticate.py, wandb/sdk/wandb_settings.py, wandb/sdk/lib/urls.py.
"""

from __future__ import annotations

import configparser
import netrc
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from wbsync.errors import AuthenticationError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEFAULT_BASE_URL = "https://api.forge.coreweave.com"
UPSTREAM_HOSTS = {
    "api.forge.coreweave.com": "api.wandb.ai",
    "api.qa.forge.coreweave.com": "api.qa.wandb.ai",
}
"""Hosts whose keys may stand in netrc under an older name."""

FORGE_PROXIES = frozenset({"forge.coreweave.com", "qa.forge.coreweave.com"})
"""Hosts that serve W&B's API under /api/wandb, and directly as `api.` below them."""

MIN_KEY_LENGTH = 40
PROJECT_SETTINGS = Path("wandb") / "settings"
"""The SDK's settings of the working folder."""
URL_FORM = "it should look like https://api.example.com or http://HOST:PORT"


class Secret:
    """A text that shows itself only when asked to."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Returns the text."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __reduce__(self) -> Any:
        raise TypeError("a secret is not to be stored")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Whom to ask, and with which key."""

    base_url: str
    api_key: Secret
    source: str
    """Where the key was found; never the key."""


def resolve_base_url(
    base_url: str | None = None,
    environ: Mapping[str, str] = os.environ,
    home: Path | None = None,
) -> str:
    """Returns the API's base URL, without a trailing slash.

    Raises:
        ConfigError: It is not an http(s) URL, or plain http to W&B's own hosts.
    """
    return _find_server(base_url, None, environ, home)[0]


def resolve_credentials(
    api_key: str | None = None,
    base_url: str | None = None,
    environ: Mapping[str, str] = os.environ,
    home: Path | None = None,
    *,
    named_in: str | None = None,
) -> Credentials:
    """Returns the key for a server, looked up in the wandb SDK's own order.

    A file of the working folder (wbsync.toml, wandb/settings) may be another's, and name a server
    that collects keys. So a key that says of itself for no host that it is meant, the argument's or
    the environment's, goes to a server that only such a file names where the user would be served
    by it without the file, too; netrc and settings files say whose their keys are.

    Args:
        api_key: The key, None to look for it.
        base_url: The server, None to look for it.
        environ: The environment.
        home: The user's folder, None for the process's.
        named_in: The file of a project in which `base_url` stands; None where the user named it.

    Raises:
        AuthenticationError: There is no key, or none that may go to this server.
        ConfigError: The key or the URL cannot be one.
    """
    url, named_in = _find_server(base_url, named_in, environ, home)
    host = urlsplit(url).netloc
    of_user, of_project = _read_settings(environ, home)
    user_url = of_user.get("base_url", DEFAULT_BASE_URL)
    is_own = named_in is None or is_same_server(url, environ.get("WANDB_BASE_URL") or user_url)
    candidates: tuple[tuple[Callable[[], str | None], str, bool], ...] = (
        (lambda: api_key, "argument", is_own),
        (lambda: environ.get("WANDB_API_KEY"), "WANDB_API_KEY", is_own),
        (lambda: _read_netrc(host, environ, home), "netrc", True),
        (
            lambda: of_project.get("api_key"), "settings file",
            is_same_server(url, of_project.get("base_url", user_url)),
        ),
        (lambda: of_user.get("api_key"), "settings file", is_same_server(url, user_url)),
    )  # fmt: skip
    withheld = ""
    for look_up, source, is_meant in candidates:
        key = (look_up() or "").strip()
        if key and is_meant:
            return Credentials(url, Secret(_checked(key, host, source)), source)
        if key and source != "settings file":
            withheld = withheld or source
    if withheld:
        raise AuthenticationError(
            f"the key of {withheld} is not sent to {url}: only {named_in} names that server, and"
            f" others may have written it; if it is yours, set WANDB_BASE_URL={url} or give"
            " --base-url"
        )
    raise AuthenticationError(
        f"no API key for {url}: set WANDB_API_KEY, or run `wandb login --host={url}`"
    )


def _find_server(
    base_url: str | None, named_in: str | None, environ: Mapping[str, str], home: Path | None
) -> tuple[str, str | None]:
    """Returns the base URL, and the project's file that alone names it, None for the user."""
    of_user, of_project = _read_settings(environ, home)
    if base_url:
        return _checked_url(base_url), named_in
    if named := environ.get("WANDB_BASE_URL"):
        return _checked_url(named), None
    if named := of_project.get("base_url"):
        return _checked_url(named), str(PROJECT_SETTINGS.absolute())
    return _checked_url(of_user.get("base_url") or DEFAULT_BASE_URL), None


def is_same_server(url: str, other: str) -> bool:
    """Says whether two URLs are of one server; W&B's newer host is the older one."""
    try:
        other = _checked_url(other)
    except ConfigError:
        return False
    return _upstream(url) == _upstream(other)


def _upstream(url: str) -> str:
    host = urlsplit(url).netloc
    return url.replace(host, UPSTREAM_HOSTS.get(host, host), 1)


def _checked_url(text: str) -> str:
    found = text.rstrip("/")
    try:
        parts = urlsplit(found)
        _ = parts.port
    except ValueError:
        raise ConfigError(f"{found!r} is not a server's URL; {URL_FORM}") from None
    if parts.hostname in FORGE_PROXIES:
        if parts.path != "/api/wandb" or parts.scheme != "https":
            raise ConfigError(f"{found} is not W&B's API; it is https://api.{parts.hostname}")
        return f"https://api.{parts.hostname}"
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError(f"{found!r} is not a server's URL; {URL_FORM}")
    if parts.username or parts.password:
        raise ConfigError("the server's URL must hold no user or password; set WANDB_API_KEY")
    if parts.scheme == "http" and _is_saas(parts.hostname):
        raise ConfigError(f"{found} must be reached by https")
    if parts.hostname in {"wandb.ai", "www.wandb.ai", "app.wandb.ai"}:
        raise ConfigError(f"{found} is W&B's web page; its API is https://api.wandb.ai")
    return found


def _checked(key: str, host: str, source: str) -> str:
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"the API key from {source} holds characters that no key has")
    if _is_saas(host) and len(key) < MIN_KEY_LENGTH:
        raise ConfigError(
            f"the API key from {source} is too short: W&B's have at least {MIN_KEY_LENGTH}"
            " characters; copy it again from your W&B user settings"
        )
    return key


def _is_saas(host: str) -> bool:
    name = host.partition(":")[0]
    return any(
        name == domain or name.endswith(f".{domain}")
        for domain in ("wandb.ai", "forge.coreweave.com")
    )


def _read_netrc(host: str, environ: Mapping[str, str], home: Path | None) -> str | None:
    folder = home or Path.home()
    named = environ.get("NETRC")
    paths = [Path(named).expanduser()] if named else [folder / ".netrc", folder / "_netrc"]
    for path in paths:
        if not path.is_file():
            continue
        try:
            entries = netrc.netrc(path)
        except (netrc.NetrcParseError, OSError) as error:
            raise ConfigError(
                f"cannot read {path}: {type(error).__name__}; mend or move it"
            ) from None
        for name in (host, UPSTREAM_HOSTS.get(host, host)):
            if name in entries.hosts and entries.hosts[name][2]:
                return entries.hosts[name][2]
    return None


def _read_settings(
    environ: Mapping[str, str], home: Path | None
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Returns what the SDK's settings files say: the user's, and that of the working folder."""
    folder = environ.get("WANDB_CONFIG_DIR")
    user = Path(folder) if folder else (home or Path.home()) / ".config" / "wandb"
    return _read_settings_file(user / "settings"), _read_settings_file(PROJECT_SETTINGS)


def _read_settings_file(path: Path) -> Mapping[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        if path.is_file():
            parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {type(error).__name__}; mend or move it") from None
    return parser["default"] if parser.has_section("default") else {}
