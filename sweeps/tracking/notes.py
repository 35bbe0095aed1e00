"""Descriptions in MLflow that we write, where nobody else has written one."""

from collections.abc import Mapping

from trainables.fields import digest_of

NOTE = "mlflow.note.content"
_OURS = "secateur.note"  # digest of what we wrote last


def note_tags(tags: Mapping[str, str], text: str, *, earlier: str = "") -> dict[str, str]:
    """Tags that set a description; none where a person has changed it.

    tags: those of the run or experiment now. earlier: how descriptions begin that versions wrote
    which did not note it.
    """
    now = tags.get(NOTE, "")
    ours = tags.get(_OURS)
    is_ours = ours == digest_of(now) if ours else bool(earlier) and now.startswith(earlier)
    if now.strip() and not is_ours:
        return {}
    new = {NOTE: text, _OURS: digest_of(text)}
    return {name: value for name, value in new.items() if tags.get(name) != value}
