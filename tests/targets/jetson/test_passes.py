from compile.passes.table import PASSES
from targets.table import TARGETS


def test_every_pass_a_target_names_is_in_the_table() -> None:
    """``targets`` may not import ``compile``, so nothing but this test ties the two."""
    assert {name: set(chosen.passes) - set(PASSES) for name, chosen in TARGETS.items()} == {
        key: set() for key in TARGETS
    }
