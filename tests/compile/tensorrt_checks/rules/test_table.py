"""The table of rules is whole."""

from compile.tensorrt_checks.rules.table import RULES

ERRORS = {"1", "2", "3", "4", "9", "11"}
WARNINGS = {"5", "6", "7", "8", "10"}


def test_every_one_of_the_eleven_rules_has_its_severity() -> None:
    found = {(rule.number, rule.severity) for rule in RULES if rule.number}
    assert found == {(number, "error") for number in ERRORS} | {(number, "warning") for number in WARNINGS}


def test_names_are_unique_and_errors_come_first() -> None:
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)
    severities = [rule.severity for rule in RULES]
    assert severities == sorted(severities)
