"""The pages a study writes: a section is replaced, never doubled, and the rest of the page stays."""

from compile.study import Row, replace_section, table

ROW = Row(
    name="ours", drops={"depth": 0.0012, "edge": -0.01}, upper={"depth": 0.005, "edge": 0.0}, bytes=12_300_000, errors=0
)


def test_a_section_is_added_then_replaced() -> None:
    page = replace_section("# Page\n\nwords\n", "naive", "first")
    assert page.startswith("# Page\n\nwords\n") and "## naive" in page
    again = replace_section(page + "\nmore\n", "naive", "second")
    assert "first" not in again and again.count("## naive") == 1 and again.endswith("\nmore\n")
    assert replace_section(again, "naive", "second") == again


def test_rows_are_percent_with_the_upper_end() -> None:
    lines = table([ROW]).splitlines()
    assert lines[0] == "|  | depth | edge | MB | lint errors | note |"
    assert lines[2] == "| ours | 0.12 [0.50] | -1.00 [0.00] | 12.3 | 0 |  |"
