"""devices.toml: defaults, paths, and every key that cannot be used is named with exit code 2."""

from pathlib import Path

import pytest

from bundle.base.errors import ConfigError, InputError
from fleet.devices import only, read_fleet

ONE = 'known_hosts = "known"\n[devices.a]\nhost = "10.0.0.7"\nuser = "u"\nkey = "~/id"\ntarget = "jetson"\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "devices.toml"
    path.write_text(text)
    return path


def test_defaults_hold_for_each_device_and_paths_are_relative_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    text = '[defaults]\nport = 2222\npython = "env/bin/python3"\n[devices.b]\nhost = "b"\nuser = "u"\nkey = "k"\ntarget = "intel"\nport = 22\n'
    fleet = read_fleet(write(tmp_path, ONE + text))
    assert (fleet.devices["a"].port, fleet.devices["b"].port, fleet.devices["b"].python) == (
        2222,
        22,
        "env/bin/python3",
    )
    assert (fleet.devices["a"].key, fleet.devices["b"].key) == ("/home/me/id", str(tmp_path / "k"))
    assert fleet.known_hosts == str(tmp_path / "known")
    assert list(only(fleet, ["b"], tmp_path).devices) == ["b"] and list(only(fleet, [], tmp_path).devices) == ["a", "b"]


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ("prot = 22", "devices.a.prot: is no key here"),
        ("port = 0", "devices.a.port"),
        ("port = 65536", "devices.a.port"),
        ('port = "22"', "devices.a.port"),
        ("time_limit_s = 0", "devices.a.time_limit_s"),
        ("time_limit_s = 1000001", "devices.a.time_limit_s"),
        ('folder = "~/x"', "devices.a.folder"),
        ('python = "-c"', "devices.a.python"),
        ('judge = ["--no-such"]', "unrecognized arguments: --no-such"),
        ('judge = ["--runs", "-1"]', "-1 is not between"),
        ('judge = ["other.zip"]', "unrecognized arguments: other.zip"),
        ('judge = ["--help"]', "unrecognized arguments: --help"),
        ('judge = ["--send", "/etc/x"]', "--send is not for a fleet"),
        ('judge = ["--sen=x"]', "--send is not for a fleet"),
        ('judge = ["--key", "x"]', "--key is not for a fleet"),
        ('judge = ["--target", "intel"]', "--target is not for a fleet"),
        ('judge = ["--model-cache", "x"]', "--model-cache is not for a fleet"),
        ('[devices."../b"]', "devices.../b"),
        ("[devices.b]", "devices.b.host: is missing"),
        ("[other]", "other: is no key here"),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, more: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_fleet(write(tmp_path, f"{ONE}{more}\n"))
    assert named in caught.value.got and caught.value.exit_code == 2 and caught.value.where.endswith("devices.toml")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "devices = 1",
        "not toml",
        'known_hosts = "k"\n[devices]\n',
        'known_hosts = ""\n' + ONE.partition("\n")[2],
        ONE.replace("10.0.0.7", "a b"),
        ONE.replace("10.0.0.7", "-oProxy"),
        f"parallel = 0\n{ONE}",
        f"defaults = 1\n{ONE}",
        f"{ONE}[devices.b]\n".replace("[devices.b]", "[devices]\nb = 1"),
    ],
)
def test_a_file_that_is_no_list_of_devices_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        read_fleet(write(tmp_path, text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is missing"):
        read_fleet(tmp_path / "devices.toml")


def test_a_device_that_is_not_listed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no device 'c'"):
        only(read_fleet(write(tmp_path, ONE)), ["c"], tmp_path)
