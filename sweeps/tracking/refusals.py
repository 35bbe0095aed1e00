"""What an error of MLflow means for what was to be sent: wait, try again, or set it aside."""

import re
from enum import Enum

import requests
from mlflow.exceptions import MlflowException

from sweeps.tracking.tracker import Away

_STATUS = re.compile(r"failed with error code (\d{3})|too many (\d{3}) error responses")
_LATER = (401, 403, 407, 408, 425, 429)  # a login, a limit: may be right in a minute
_UNCLEAR = (404, 409, 500, 501)  # of MLflow's store or of a proxy, and may pass or not


class Verdict(Enum):
    """AWAY: wait, however long. UNCLEAR: try again for a while. NEVER: set it aside."""

    AWAY = "away"
    UNCLEAR = "unclear"
    NEVER = "never"


def verdict(error: Exception) -> Verdict:
    """Of one error, by the status code where there is one."""
    if isinstance(error, MlflowException) and error.error_code == "RESOURCE_DOES_NOT_EXIST":
        return Verdict.NEVER
    status = status_of(error)
    if status is not None:
        if status in _UNCLEAR:
            return Verdict.UNCLEAR
        return Verdict.NEVER if 400 <= status < 500 and status not in _LATER else Verdict.AWAY
    if isinstance(error, MlflowException):  # without an answer
        return Verdict.AWAY
    if isinstance(error, Away):
        return Verdict.AWAY
    wrong = isinstance(error, (LookupError, TypeError, ValueError, AttributeError))
    return Verdict.NEVER if wrong else Verdict.UNCLEAR


def status_of(error: Exception) -> int | None:
    """The status code that a server answered, or MLflow's store would have; None without one."""
    if isinstance(error, requests.exceptions.HTTPError) and error.response is not None:
        return int(error.response.status_code)
    if not isinstance(error, MlflowException):
        return None
    said = _STATUS.search(str(error))
    if said:  # by a proxy: MLflow keeps no code that it does not know
        return int(said[1] or said[2])
    if "API request to" in str(error):
        return None
    return int(error.get_http_status_code())


def reason(error: Exception) -> str:
    """In one line."""
    status = status_of(error) if isinstance(error, requests.exceptions.HTTPError) else None
    first = (str(error).strip().splitlines() or [""])[0][:300]
    return f"status {status}: {first}" if status else f"{type(error).__name__}: {first}"
