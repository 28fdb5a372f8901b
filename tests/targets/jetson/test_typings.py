"""typings/tensorrt, which mypy reads where TensorRT is not installed, and our CUDA calls, against NVIDIA's own packages."""

import json
import re
import sys
from typing import Any

import pytest

from targets.jetson import builder
from targets.jetson.builder import BuilderConfig
from targets.jetson.device import MINIMUM, Device, version_of
from targets.jetson.session import DTYPES
from tests.architecture.source import ROOT
from tests.contract.interpreters import VERSIONS
from tests.targets.jetson.fake_tensorrt import FakeTensorRt
from tests.targets.jetson.recorded import RECORD, cuda_functions, stub_members

NVIDIA: dict[str, dict[str, Any]] = json.loads(RECORD.read_text(encoding="utf-8"))
TENSORRT = NVIDIA["tensorrt"]
STUB = stub_members()
JETPACK = re.compile(r"\| \d\.\d.* \| .*(Orin|Thor) \| ")


def taken(signature: str) -> list[tuple[str, bool]]:
    """Return the parameters of a recorded signature after self, each with whether it may be left out."""
    inside = signature.rpartition(") -> ")[0].partition("(")[2]
    return [(one.partition(":")[0], " = " in one) for one in re.split(r", (?=\w+: )", inside)[1:]]


def misses(stub: list[str] | None, recorded: Any) -> str | None:
    """Say why NVIDIA's package does not have what the stub says, None if it does."""
    if recorded is None:
        return "it is not there"
    if stub is None:
        return "it is a function" if isinstance(recorded, list) else None
    for signature in recorded:
        found = taken(signature)
        named = [name for name, _ in found[: len(stub)]]
        if named in (stub, ["arg0"] * len(stub)) and all(optional for _, optional in found[len(stub) :]):
            return None
    return f"no signature takes {stub}: {recorded}"


@pytest.mark.parametrize("version", TENSORRT)
def test_every_tensorrt_has_what_we_call(version: str) -> None:
    members = TENSORRT[version]["members"]
    wrong = {name: why for name, stub in STUB.items() if (why := misses(stub, members.get(name)))}
    assert wrong == {}


@pytest.mark.parametrize(
    ("stub", "recorded"),
    [
        (None, None),
        (None, ["set_flag(self: tensorrt.A, flag: int) -> None"]),
        (["flag"], ["set_flag(self: tensorrt.A) -> None"]),
        (["flag"], ["set_flag(self: tensorrt.A, kind: int) -> None"]),
        (["flag"], ["set_flag(self: tensorrt.A, flag: int, more: int) -> None"]),
    ],
)
def test_the_check_sees_what_is_gone_or_takes_something_else(stub: list[str] | None, recorded: Any) -> None:
    assert misses(stub, recorded)


def test_the_check_takes_a_second_signature_and_more_that_may_be_left_out() -> None:
    second = "run(self: tensorrt.A, flag: int, how: tensorrt.How = <How.FAST: 0>) -> bool"
    assert misses(["flag"], ["run(self: tensorrt.A) -> bool", second]) is None


@pytest.mark.parametrize("member", ["IBuilderConfig.builder_optimization_level"])
def test_what_we_set_can_be_set(member: str) -> None:
    assert {found["members"][member] for found in TENSORRT.values()} == {"property"}


def test_each_jetpack_that_is_named_has_a_recorded_tensorrt_cuda_and_a_tested_python() -> None:
    text = (ROOT / "docs" / "guides" / "device.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:6]] for line in text.splitlines() if JETPACK.match(line)]
    assert [row[0].partition(",")[0] for row in rows] == ["6.2", "7.0", "7.2", "7.2.2"]
    for _, _, tensorrt, cuda, python in rows:
        assert version_of(tensorrt) in map(version_of, TENSORRT) and python in VERSIONS
        assert version_of(cuda) in map(version_of, NVIDIA["cuda"])
    assert min(version_of(row[2]) for row in rows) == MINIMUM


@pytest.mark.parametrize("version", TENSORRT)
def test_networks_of_tensorrt_10_ask_for_strong_types_and_those_of_11_do_not(monkeypatch, version: str) -> None:
    fake = FakeTensorRt()
    bit = TENSORRT[version]["members"]["NetworkDefinitionCreationFlag.STRONGLY_TYPED"]
    fake.NetworkDefinitionCreationFlag.STRONGLY_TYPED = bit
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    device = Device(board="a board", compute_capability="8.7", jetson_linux="", tensorrt=version)
    flags = builder._network_flags(device, BuilderConfig())
    assert flags == (0 if version.startswith("11.") else 1 << bit)


def test_the_types_of_a_session_are_tensorrts() -> None:
    assert {f"DataType.{name}" for name in DTYPES} <= set(STUB)


@pytest.mark.parametrize("version", NVIDIA["cuda"])
def test_every_cuda_runtime_has_what_we_call(version: str) -> None:
    called = cuda_functions()
    assert len(called) > 10 and NVIDIA["cuda"][version]["functions"] == called


@pytest.mark.parametrize("name", STUB)
def test_every_name_is_in_the_module_that_is_installed(name: str) -> None:
    found: Any = pytest.importorskip("tensorrt_rtx", reason="needs the extra 'proof' (x86-64)")
    for part in name.split("."):
        found = getattr(found, part)
