"""The key of every trial of every study that is shipped: results are found again by it.

A key that changes makes all who have results run that trial again. Where that is meant (the trial
means something else now, or a study has other trials), write the table anew with
`python tests/sweeps/test_golden_keys.py` and say so in CHANGELOG.md.
"""

from pathlib import Path

from sweeps.studies import load_study, study_names

TABLE = Path(__file__).parents[1] / "data" / "golden_keys.txt"


def keys_now():
    """Lines of study, key and label."""
    lines = []
    for name in study_names():
        study = load_study(name)
        sweeps = {name: study}
        if study.on_folder is not None:
            sweeps[f"{name}-on-folder"] = study.with_data("/somewhere")
        for title, sweep in sweeps.items():
            lines += [f"{title} {config.key} {config.label}" for config in sweep.expand()]
    return lines


def test_no_trial_has_another_key_than_it_had():
    golden, now = TABLE.read_text().splitlines(), keys_now()
    gone, new = sorted(set(golden) - set(now)), sorted(set(now) - set(golden))
    assert (gone, new) == ([], []), __doc__
    assert len(golden) == len(now)


if __name__ == "__main__":
    TABLE.write_text("\n".join(keys_now()) + "\n")
