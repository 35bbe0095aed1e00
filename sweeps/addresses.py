"""Addresses as they may be shown: without the passwords that some hold."""

import os
import re
from urllib.parse import unquote, urlsplit

_HIDDEN = "***"
# What stands before the host. A password may hold characters that no address may: up to the last @.
_LOGIN = re.compile(r"(?<=://)(?:[^\s/?#@:]*:(?!\d+[/?#])[^\s'\"<>]*@|[^\s/?#'\"<>]*@)")
_SECRET = re.compile(
    r"([?&;][^=&;#\s]*(?:password|passwd|pwd|token|secret|signature|credential|"
    r"(?:access|account|api|private)[_-]?key)[^=&;#\s]*=)[^&;#\s'\"<>]+",
    re.IGNORECASE,
)


def without_secrets(text: str) -> str:
    """The text with `***` for the login of every address in it, and for passwords and keys that
    an address has as parameters.
    """
    return _SECRET.sub(rf"\1{_HIDDEN}", _LOGIN.sub(f"{_HIDDEN}@", text))


def has_secrets(address: str) -> bool:
    """Whether there is anything in it that may not be shown."""
    return without_secrets(address) != address


def host_shown(address: str) -> str:
    """An address that may lack its scheme, as RAY_ADDRESS does: "ada:love@head:6379"."""
    shown = without_secrets(address)
    if "://" in shown or "@" not in shown:
        return shown
    return f"{_HIDDEN}@{shown.rpartition('@')[2]}"


def link(address: str) -> str:
    """The address for a page: without the login, and without what may not be shown."""
    return without_secrets(_LOGIN.sub("", address))


def take_login() -> None:
    """Move the login in MLFLOW_TRACKING_URI to where MLflow's client reads it as well.

    A server's alone: MLflow and the libraries under it print its address in errors and logs. That
    of a database stays, for its driver has no other place to read it from. Raises ValueError for
    what is no address.
    """
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise ValueError(
            f"MLFLOW_TRACKING_URI must be an address, got {without_secrets(address)!r}: {error}"
        ) from error
    if parts.scheme not in ("http", "https") or parts.username is None or parts.password is None:
        return
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password)
    host = parts.netloc.rpartition("@")[2]
    os.environ["MLFLOW_TRACKING_URI"] = parts._replace(netloc=host).geturl()
