"""What ``tdss data check`` prints of a report."""

import pytest

from cli.check_data import SHOWN, lines
from labelled_folder.findings import FolderReport


@pytest.mark.parametrize(("sizes", "more"), [(SHOWN, ""), (SHOWN + 7, ", and 7 more sizes")])
def test_the_most_frequent_sizes_come_first_and_many_are_counted(sizes: int, more: str) -> None:
    counts = {f"{side}×{side}": 1 for side in range(1, sizes)} | {"640×480": 9}
    first = next(
        lines(FolderReport.model_validate({"folder": "photos", "sizes": counts, "splits": (), "findings": ()}))
    )
    assert first.startswith("photos: 9 images of 640×480, 1 image of 1×1, ") and first.endswith(f"of 4×4{more}")
