import numpy as np
import pytest
from pydantic import ValidationError

from bundle.base.errors import ArtifactError, InputError
from bundle.formats.artifacts import TensorSpec
from targets.base import Array, Capabilities, QuantizationScheme, Session, SessionInfo, check_specs
from targets.check_arrays import check_outputs
from targets.jetson.scheme import scheme

CPU = Capabilities(device="CPU", device_name="a CPU", isa=("avx2",), precisions=("f32",), runtime="none")
X = TensorSpec(name="x", dtype="float32", shape=(1, 2))
Y = TensorSpec(name="y", dtype="float32", shape=(1, 2))


class Fixed(Session):
    """A fake backend that returns what it is given."""

    def __init__(self, answer: dict[str, Array]) -> None:
        info = SessionInfo(target="fake", capabilities=CPU, precision="f32", executed_on="device", settings={})
        super().__init__(info, (X,), (Y,))
        self.answer = answer
        self.closed = 0

    def _infer(self, feed):
        return self.answer

    def _close(self) -> None:
        self.closed += 1


GOOD = np.zeros((1, 2), np.float32)


@pytest.mark.parametrize(
    ("answer", "got"),
    [({}, "no such output"), ({"y": GOOD[0]}, "float32 (2,)"), ({"y": GOOD.astype(np.float16)}, "float16 (1, 2)")],
)
def test_a_backend_that_breaks_its_promise_is_caught(answer: dict[str, Array], got: str) -> None:
    with Fixed(answer) as session, pytest.raises(ArtifactError, match="output 'y' is not what was recorded") as caught:
        session.infer({"x": GOOD})
    assert caught.value.got == got


def test_outputs_come_in_the_recorded_order_and_nothing_beside_them() -> None:
    with Fixed({"debug": GOOD, "y": GOOD}) as session:
        assert list(session.infer({"x": GOOD})) == ["y"]


def test_the_backend_is_freed_once() -> None:
    with Fixed({"y": GOOD}) as session:
        session.close()
    assert session.closed == 1


def test_a_closed_session_neither_runs_nor_is_timed() -> None:
    with Fixed({"y": GOOD}) as session:
        assert session.timed({"x": GOOD}).total_ms >= 0
    for use in (session.infer, session.timed):
        with pytest.raises(InputError, match="the session is closed"):
            use({"x": GOOD})


def test_a_graph_that_is_not_the_recorded_one_is_closed_and_refused() -> None:
    session = Fixed({"y": GOOD})
    with pytest.raises(ArtifactError, match="inputs are not what was recorded"):
        check_specs(session, (TensorSpec(name="image", dtype="float32", shape=(1, 2)),), (Y,), "a bundle")
    assert session.closed == 1
    with pytest.raises(ArtifactError, match="outputs are not what was recorded"):
        check_specs(Fixed({}), (X,), (Y, X), "a bundle")


def test_check_outputs_names_the_place() -> None:
    with pytest.raises(ArtifactError) as caught:
        check_outputs({}, (Y,), where="the intel target")
    assert caught.value.where == "the intel target"


def test_every_choice_of_a_scheme_needs_a_reason() -> None:
    values = scheme(CPU).model_dump()
    del values["reasons"]["preset"]
    with pytest.raises(ValidationError, match="reasons must name"):
        QuantizationScheme.model_validate(values)
