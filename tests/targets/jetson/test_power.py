"""What a Jetson says of its clocks and heat, read from a FAKE /sys and /proc: nothing here ran on hardware."""

from pathlib import Path

import pytest

from targets.jetson import power
from targets.jetson.power import jetson_facts


def write(root: Path, files: dict[str, str]) -> None:
    """Make up files below a FAKE root; what they say is invented."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(("lowest", "said"), [("306000000", "not pinned"), ("1020000000", "pinned")])
def test_clocks_and_heat_are_read_and_whether_they_are_pinned(
    tmp_path: Path, monkeypatch, lowest: str, said: str
) -> None:
    monkeypatch.setattr(power, "_ask", lambda command: "NV Power Mode: MAXN_SUPER")
    gpu = "sys/class/devfreq/17000000.gpu"
    write(
        tmp_path,
        {
            f"{gpu}/cur_freq": "612000000\n",
            f"{gpu}/min_freq": f"{lowest}\n",
            f"{gpu}/max_freq": "1020000000\n",
            "sys/class/thermal/thermal_zone0/temp": "48500\n",
            "proc/device-tree/model": "NVIDIA Jetson Orin Nano\0",
        },
    )
    facts = jetson_facts(tmp_path)
    assert facts["clocks"].startswith(said)
    assert facts[f"gpu: {gpu}/cur_freq"] == "612000000"
    assert facts["model: proc/device-tree/model"] == "NVIDIA Jetson Orin Nano"
    assert facts["nvpmodel"] == "NV Power Mode: MAXN_SUPER"


def test_a_machine_that_is_no_jetson_says_so(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    facts = jetson_facts(tmp_path)
    assert facts["nvpmodel"] == facts["jetson_clocks"] == "not installed"
    assert facts["clocks"].startswith("unknown")
