"""Where the key and the server come from."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

from wbsync.errors import AuthenticationError, ConfigError
from wbsync.settings import (
    DEFAULT_BASE_URL,
    Secret,
    resolve_base_url,
    resolve_credentials,
)

KEYS = {source: f"{source[0]}" * 40 for source in ("argument", "environ", "netrc", "settings")}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder, with a working folder beside it that holds no settings of its own."""
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    monkeypatch.chdir(cwd)
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def write_netrc(home: Path, host: str = "api.wandb.ai", key: str = KEYS["netrc"]) -> None:
    """Writes a netrc with one host."""
    (home / ".netrc").write_text(f"machine {host}\n  login user\n  password {key}\n")


def write_settings(home: Path, base_url: str | None, key: str = KEYS["settings"]) -> None:
    """Writes the user's settings file."""
    folder = home / ".config" / "wandb"
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["[default]", f"api_key = {key}"]
    if base_url:
        lines.append(f"base_url = {base_url}")
    (folder / "settings").write_text("\n".join(lines) + "\n")


def test_the_key_is_looked_up_in_the_sdks_order(home: Path) -> None:
    """Argument, environment, netrc, settings file: the first that has one."""
    write_netrc(home)
    write_settings(home, None)
    environ = {"WANDB_API_KEY": KEYS["environ"]}
    found = resolve_credentials(KEYS["argument"], None, environ, home)
    assert (found.api_key.reveal(), found.source) == (KEYS["argument"], "argument")
    found = resolve_credentials(None, None, environ, home)
    assert (found.api_key.reveal(), found.source) == (KEYS["environ"], "WANDB_API_KEY")
    found = resolve_credentials(None, None, {"WANDB_API_KEY": " "}, home)
    assert (found.api_key.reveal(), found.source) == (KEYS["netrc"], "netrc")
    (home / ".netrc").unlink()
    found = resolve_credentials(None, None, {}, home)
    assert (found.api_key.reveal(), found.source) == (KEYS["settings"], "settings file")


HOSTILE = "https://collects-keys.example"


def project_settings(base_url: str | None = HOSTILE, key: str | None = None) -> None:
    """Writes the settings of the working folder, as a repository may bring them."""
    Path("wandb").mkdir(exist_ok=True)
    lines = ["[default]", *([f"base_url = {base_url}"] if base_url else [])]
    Path("wandb/settings").write_text("\n".join([*lines, *([f"api_key = {key}"] if key else [])]))


@pytest.mark.parametrize("way", ["wandb/settings", "wbsync.toml"])
def test_a_projects_file_cannot_collect_keys(home: Path, way: str) -> None:
    """A server that only a file of the working folder names gets no key that is not its own."""
    write_netrc(home)
    write_settings(home, None)
    named: dict[str, str | None] = {"base_url": HOSTILE, "named_in": "/repository/wbsync.toml"}
    if way == "wandb/settings":
        project_settings()
        named = {"base_url": None}
    environ = {"WANDB_API_KEY": KEYS["environ"]}
    for argument in (KEYS["argument"], None):
        refusal = f"{HOSTILE}.*{way}.*WANDB_BASE_URL"
        with pytest.raises(AuthenticationError, match=refusal) as caught:
            resolve_credentials(argument, environ=environ, home=home, **named)
        assert not [key for key in KEYS.values() if key in str(caught.value)]
    with pytest.raises(AuthenticationError, match="no API key"):
        resolve_credentials(environ={}, home=home, **named)
    # What the user says, too, is the user's.
    found = resolve_credentials(base_url=HOSTILE, environ=environ, home=home)
    assert found.source == "WANDB_API_KEY"
    said = environ | {"WANDB_BASE_URL": HOSTILE}
    assert resolve_credentials(environ=said, home=home).base_url == HOSTILE
    # A key that netrc holds for that server goes there, and to no other.
    write_netrc(home, "collects-keys.example", "k" * 40)
    found = resolve_credentials(environ=environ, home=home, **named)
    assert (found.source, found.api_key.reveal()) == ("netrc", "k" * 40)


@pytest.mark.parametrize(
    ("own", "named", "is_own"),
    [
        (None, DEFAULT_BASE_URL, True),
        (None, "https://api.wandb.ai/", True),
        ("https://wandb.example.com", "https://wandb.example.com/", True),
        ("https://wandb.example.com", "http://wandb.example.com", False),
        ("https://wandb.example.com", "https://wandb.example.com:444", False),
        ("https://wandb.example.com", "https://wandb.example.com.evil.example", False),
        ("https://wandb.example.com", "https://api.wandb.ai", False),
    ],
)
def test_a_projects_file_may_name_the_users_own_server(
    home: Path, own: str | None, named: str, is_own: bool
) -> None:
    """Where the file changes nothing for the key, it is no reason to refuse; a downgrade is one."""
    write_settings(home, own)
    environ = {"WANDB_API_KEY": KEYS["environ"]}
    project_settings(named)
    if is_own:
        assert resolve_credentials(environ=environ, home=home).source == "WANDB_API_KEY"
    else:
        with pytest.raises(AuthenticationError, match="is not sent"):
            resolve_credentials(environ=environ, home=home)


def test_settings_files_keep_their_keys_for_their_own_servers(home: Path) -> None:
    """The user's key is not lent to the server of the folder's file; that file's own key is."""
    write_settings(home, "https://wandb.example.com")
    project_settings()
    with pytest.raises(AuthenticationError):
        resolve_credentials(environ={}, home=home)
    project_settings(key="p" * 40)
    found = resolve_credentials(environ={}, home=home)
    assert (found.base_url, found.api_key.reveal()) == (HOSTILE, "p" * 40)


def test_no_key_says_what_to_do(home: Path) -> None:
    """Without a key the error names the variable and the command that help."""
    with pytest.raises(AuthenticationError, match=r"WANDB_API_KEY.*wandb login"):
        resolve_credentials(None, None, {}, home)


def test_netrc_is_by_host(home: Path) -> None:
    """A key of another host is not sent; port and upstream name count as in the SDK."""
    write_netrc(home)
    with pytest.raises(AuthenticationError):
        resolve_credentials(None, "https://wandb.example.com", {}, home)
    assert resolve_credentials(None, DEFAULT_BASE_URL, {}, home).source == "netrc"
    assert resolve_credentials(None, "https://api.wandb.ai", {}, home).source == "netrc"
    write_netrc(home, "127.0.0.1:8080", "short")
    found = resolve_credentials(None, "http://127.0.0.1:8080", {}, home)
    assert found.api_key.reveal() == "short"


def test_netrc_may_be_named(home: Path, tmp_path: Path) -> None:
    """NETRC names the file; the one in the home folder then does not count."""
    write_netrc(home)
    other = tmp_path / "other"
    with pytest.raises(AuthenticationError):
        resolve_credentials(None, None, {"NETRC": str(other)}, home)
    other.write_text(f"machine api.wandb.ai login user password {'o' * 40}\n")
    found = resolve_credentials(None, None, {"NETRC": str(other)}, home)
    assert found.api_key.reveal() == "o" * 40


@pytest.mark.parametrize("text", ["machine", "nonsense here", "machine x bogus y"])
def test_a_broken_netrc_is_named(home: Path, text: str) -> None:
    """A file that cannot be read is said to be that, without its content."""
    (home / ".netrc").write_text(text)
    with pytest.raises(ConfigError, match="netrc") as caught:
        resolve_credentials(None, None, {}, home)
    assert "nonsense" not in str(caught.value)
    environ = {"WANDB_API_KEY": KEYS["environ"]}
    assert resolve_credentials(None, None, environ, home).source == "WANDB_API_KEY"


def test_a_settings_key_is_for_its_own_server(home: Path) -> None:
    """A key in a settings file is sent to the server that the file is for, and to no other."""
    write_settings(home, "https://wandb.example.com/")
    found = resolve_credentials(None, None, {}, home)
    assert found.base_url == "https://wandb.example.com"
    with pytest.raises(AuthenticationError):
        resolve_credentials(None, "https://other.example.com", {}, home)
    with pytest.raises(AuthenticationError):
        resolve_credentials(None, None, {"WANDB_BASE_URL": "https://evil.example.com"}, home)


def test_a_settings_file_of_another_folder(home: Path, tmp_path: Path) -> None:
    """WANDB_CONFIG_DIR moves the user's settings file; the working folder's own goes first."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "settings").write_text(f"[default]\napi_key = {'c' * 40}\n")
    environ = {"WANDB_CONFIG_DIR": str(tmp_path / "config")}
    assert resolve_credentials(None, None, environ, home).api_key.reveal() == "c" * 40
    Path("wandb").mkdir()
    Path("wandb/settings").write_text(f"[default]\napi_key = {'w' * 40}\n")
    assert resolve_credentials(None, None, environ, home).api_key.reveal() == "w" * 40
    Path("wandb/settings").write_text("api_key\n= no section")
    with pytest.raises(ConfigError, match="settings"):
        resolve_credentials(None, None, environ, home)


@pytest.mark.parametrize(
    "key", ["a" * 39, "with space" + "a" * 40, "k\u00e9y" + "a" * 40, "a\nb" * 20]
)
def test_a_key_that_cannot_be_one_is_refused_unseen(home: Path, key: str) -> None:
    """A key too short for W&B, or with characters no key has, is refused without being shown."""
    with pytest.raises(ConfigError) as caught:
        resolve_credentials(key, "https://api.wandb.ai", {}, home)
    assert key not in str(caught.value)


@pytest.mark.parametrize("key", ["a" * 40, "a" * 86, "local-" + "a" * 40])
def test_every_form_of_key_is_taken(home: Path, key: str) -> None:
    """Old keys, longer new ones, and ones with a prefix."""
    assert resolve_credentials(key, None, {}, home).api_key.reveal() == key


@pytest.mark.parametrize(
    ("given", "url"),
    [
        (None, DEFAULT_BASE_URL),
        ("https://api.wandb.ai/", "https://api.wandb.ai"),
        ("http://127.0.0.1:8080//", "http://127.0.0.1:8080"),
        ("https://example.com/wandb/", "https://example.com/wandb"),
        ("https://forge.coreweave.com/api/wandb/", "https://api.forge.coreweave.com"),
    ],
)
def test_the_base_url_is_normalised(home: Path, given: str | None, url: str) -> None:
    """No trailing slash, and the SDK's own rule for its newer host."""
    assert resolve_base_url(given, {}, home) == url


@pytest.mark.parametrize(
    "url",
    [
        "api.wandb.ai",
        "ftp://api.wandb.ai",
        "http://api.wandb.ai",
        "http://api.forge.coreweave.com",
        "https://wandb.ai",
        "https://app.wandb.ai",
        "https://forge.coreweave.com/wandb",
        "https://user:secret@example.com",
        "https://[::1",
        "https://host:port",
        "https://",
    ],
)
def test_a_url_that_cannot_be_an_api_is_refused(home: Path, url: str) -> None:
    """A web page, plain http to W&B, or nonsense is refused before a key is sent."""
    with pytest.raises(ConfigError) as caught:
        resolve_base_url(url, {}, home)
    assert "secret" not in str(caught.value)


def test_the_base_url_has_its_order(home: Path) -> None:
    """Argument, environment, settings file, default."""
    write_settings(home, "https://s.example.com")
    environ = {"WANDB_BASE_URL": "https://e.example.com"}
    assert resolve_base_url("https://a.example.com", environ, home) == "https://a.example.com"
    assert resolve_base_url(None, environ, home) == "https://e.example.com"
    assert resolve_base_url(None, {}, home) == "https://s.example.com"


def test_a_host_that_only_ends_like_wandbs_is_another() -> None:
    """Rules for W&B's own hosts are for those alone."""
    assert resolve_base_url("http://notwandb.ai", {}) == "http://notwandb.ai"


def test_a_secret_shows_itself_to_no_one() -> None:
    """Not printed, formatted, pickled or copied; only revealed."""
    secret = Secret("hush")
    assert secret.reveal() == "hush"
    assert "hush" not in f"{secret} {secret!r} {[secret]}"
    for leak in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(secret)
