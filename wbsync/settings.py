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
    found = (
        base_url
        or environ.get("WANDB_BASE_URL")
        or _read_settings(environ, home).get("base_url")
        or DEFAULT_BASE_URL
    ).rstrip("/")
    try:
        parts = urlsplit(found)
        _ = parts.port
    except ValueError:
        raise ConfigError(
            f"{found!r} is not a server's URL; it should look like {DEFAULT_BASE_URL}"
        ) from None
    if parts.hostname in FORGE_PROXIES:
        if parts.path != "/api/wandb" or parts.scheme != "https":
            raise ConfigError(f"{found} is not W&B's API; it is {DEFAULT_BASE_URL}")
        return f"https://api.{parts.hostname}"
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError(
            f"{found!r} is not a server's URL; it should look like {DEFAULT_BASE_URL}"
        )
    if parts.username or parts.password:
        raise ConfigError("the server's URL must hold no user or password; set WANDB_API_KEY")
    if parts.scheme == "http" and _is_saas(parts.hostname):
        raise ConfigError(f"{found} must be reached by https")
    if parts.hostname in {"wandb.ai", "www.wandb.ai", "app.wandb.ai"}:
        raise ConfigError(f"{found} is W&B's web page; its API is https://api.wandb.ai")
    return found


def resolve_credentials(
    api_key: str | None = None,
    base_url: str | None = None,
    environ: Mapping[str, str] = os.environ,
    home: Path | None = None,
) -> Credentials:
    """Returns the key for a server, looked up in the wandb SDK's own order.

    Raises:
        AuthenticationError: There is no key.
        ConfigError: The key or the URL cannot be one.
    """
    url = resolve_base_url(base_url, environ, home)
    host = urlsplit(url).netloc
    settings = _read_settings(environ, home)
    settings_url = settings.get("base_url", DEFAULT_BASE_URL).rstrip("/")
    candidates: tuple[tuple[Callable[[], str | None], str], ...] = (
        (lambda: api_key, "argument"),
        (lambda: environ.get("WANDB_API_KEY"), "WANDB_API_KEY"),
        (lambda: _read_netrc(host, environ, home), "netrc"),
        (lambda: settings.get("api_key") if settings_url == url else None, "settings file"),
    )
    for look_up, source in candidates:
        key = look_up()
        if key and key.strip():
            return Credentials(url, Secret(_checked(key.strip(), host, source)), source)
    raise AuthenticationError(
        f"no API key for {url}: set WANDB_API_KEY, or run `wandb login --host={url}`"
    )


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


def _read_settings(environ: Mapping[str, str], home: Path | None) -> dict[str, str]:
    folder = environ.get("WANDB_CONFIG_DIR")
    user = Path(folder) if folder else (home or Path.home()) / ".config" / "wandb"
    settings: dict[str, str] = {}
    for path in (user / "settings", Path("wandb") / "settings"):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            if path.is_file():
                parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            raise ConfigError(
                f"cannot read {path}: {type(error).__name__}; mend or move it"
            ) from None
        if parser.has_section("default"):
            settings.update(parser["default"])
    return settings
