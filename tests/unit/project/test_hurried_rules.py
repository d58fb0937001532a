"""The tests of alerts shorten the times in the rules, and change nothing else."""

import yaml

from tests.alerts.rules import PACE, hurried
from tests.observability import FOLDER, RULE_FILES


def test_windows_waits_and_ages_are_shorter_and_the_rest_is_the_same() -> None:
    rule = "expr: rate(x[5m]) > 0.01 and y_age_seconds > 120 and z > 120\nfor: 1h\n"
    assert hurried(rule) == "expr: rate(x[5000ms]) > 0.01 and y_age_seconds > 2 and z > 120\nfor: 60000ms\n"
    assert hurried("predict_linear(x[1h], 14400) < 0 and x offset 30m", 6) == (
        "predict_linear(x[600000ms], 2400) < 0 and x offset 300000ms"
    )
    assert PACE == 60


def test_rules_keep_their_number_names_and_texts() -> None:
    for name in RULE_FILES:
        text = (FOLDER / name).read_text("utf-8")
        before, after = yaml.safe_load(text), yaml.safe_load(hurried(text))
        for one, other in zip(before["groups"][0]["rules"], after["groups"][0]["rules"], strict=True):
            assert {**one, "expr": "", "for": ""} == {**other, "expr": "", "for": ""}
