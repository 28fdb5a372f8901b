import pytest

from targets.isa import accumulates_int8_exactly, cpu_isa, cpu_name

XEON = "processor : 0\nmodel name\t: Intel(R) Xeon(R) Platinum 8480+\nflags\t\t: fpu sse avx2 avx512f avx512_vnni amx_int8 amx_tile\n"
ORIN = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\nCPU part\t: 0xd42\n"


def test_reads_an_intel_cpuinfo() -> None:
    assert cpu_isa(XEON) == ("avx2", "avx512f", "avx512_vnni", "amx_tile", "amx_int8")
    assert cpu_name(XEON) == "Intel(R) Xeon(R) Platinum 8480+"


def test_reads_an_arm_cpuinfo() -> None:
    assert cpu_isa(ORIN) == ("neon", "neon_dotprod", "neon_i8mm")
    assert cpu_name(ORIN) != ""


def test_a_flag_inside_another_word_does_not_count() -> None:
    assert cpu_isa("flags : avx2_not_really xavx2") == ()


@pytest.mark.parametrize(
    ("isa", "exact"),
    [
        (("avx2",), False),
        (("avx2", "avx512f"), False),
        (("avx2", "avx_vnni"), True),
        (("avx512_vnni",), True),
        (("amx_int8",), True),
    ],
)
def test_only_vnni_and_amx_sum_exactly(isa: tuple[str, ...], exact: bool) -> None:
    assert accumulates_int8_exactly(isa) is exact
