"""A checkpoint's card: what it was trained on, for how long, and how good it is. Read without PyTorch."""

from pathlib import Path

from pydantic import Field, ValidationError

from bundle.base.errors import CheckpointError
from bundle.base.frozen import Frozen, faults
from bundle.base.limits import read_limited

CARD = "card.json"
TRIVIAL = "trivial"  # the baseline that answers the same whatever the image


class Card(Frozen):
    """What a checkpoint was trained on, for how long, and how good it is.

    ``metrics`` are those of the stored weights on the validation split, by task; ``baselines`` holds the same
    metrics of what the model is compared with (a trivial predictor, heads on the frozen backbone).
    ``trained`` is the number of parameters that the last run trained, of ``parameters``.
    """

    trained_on: str
    steps: int
    hours: float
    metrics: dict[str, float]
    baselines: dict[str, dict[str, float]] = Field(default_factory=dict)
    delta_m_percent: dict[str, float] = Field(default_factory=dict)
    parameters: int | None = None
    trained: int | None = None
    notes: str = ""


def load_card(folder: Path) -> Card | None:
    """Read a checkpoint's card, or None where it has none.

    Raises:
        CheckpointError: the card is there and cannot be read.
    """
    path = folder / CARD
    if not path.is_file():
        return None
    try:
        return Card.model_validate_json(read_limited(path, "json_bytes"))
    except ValidationError as error:
        raise CheckpointError(
            "the card cannot be read",
            expected="the fields of tdss.card.Card",
            got=faults(error),
            where=str(path),
            fix="correct or remove what is named",
        ) from error
