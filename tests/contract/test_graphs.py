"""Black box: every target that can execute here × every tiny graph, against NumPy in float64."""

from pathlib import Path

import numpy as np
import pytest

from targets.isa import accumulates_int8_exactly
from tests.contract.flows import FLOWS, QUANTIZING, open_case
from tests.contract.graphs import CASES

# Float32 against float64 on sums of at most 64 terms of order one; measured below 3e-6 everywhere.
RTOL, ATOL = 1e-5, 1e-5


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
@pytest.mark.parametrize("flow", FLOWS.values(), ids=list(FLOWS))
def test_computes_what_numpy_does(flow, case, tmp_path: Path) -> None:
    with open_case(flow, case, tmp_path) as session:
        if (
            flow.target in QUANTIZING
            and flow.executed_on == "device"
            and case.quantized
            and not accumulates_int8_exactly(session.info.capabilities.isa)
        ):
            pytest.skip("this CPU sums int8 products in 16 bits; the targets' own tests say what that does")
        outputs = session.infer(case.feed)
    assert session.info.executed_on == flow.executed_on
    assert {spec.name: (spec.dtype, spec.shape) for spec in session.inputs} == {
        name: (str(array.dtype), array.shape) for name, array in case.feed.items()
    }
    assert list(outputs) == [spec.name for spec in session.outputs]
    assert set(outputs) == set(case.expected)
    for name, expected in case.expected.items():
        np.testing.assert_allclose(outputs[name], expected, rtol=RTOL, atol=ATOL, err_msg=name)
