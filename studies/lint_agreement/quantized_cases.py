"""Small quantized graphs whose right answer is known: where a product multiplies in INT8, and where it does not."""

from studies.lint_agreement.cases import OPERATOR, UNVERIFIED, Case

SIZE = 32
ADJACENT, SCALES = "adjacent-weight", "constant-scales"


def many(value: float, count: int = SIZE) -> str:
    """Return an initializer's values in ONNX text, all the same."""
    return "{" + ", ".join([str(value)] * count) + "}"


def weight(*shape: int) -> str:
    """Return an int8 initializer ``w`` of small numbers that differ."""
    count = 1
    for size in shape:
        count *= size
    return f"int8[{','.join(map(str, shape))}] w = {{{', '.join(str(index * 7 % 11 - 5) for index in range(count))}}}"


def product(between: str, node: str, *, axis: int = 1, stored: str = "", x: str = "64,32", scales: int = SIZE) -> str:
    """Return an INT8 product: x quantized per tensor, a weight's DQ, what is ``between``, and the node that reads t."""
    held = stored or weight(SIZE, SIZE)
    kind = f"float[{scales}] ws = {many(0.01, scales)}" if scales else "float ws = {0.01}"
    return f"""g (float[{x}] x) => (y) <float s = {{0.02}}, int8 z = {{0}}, {held}, {kind},
    float half = {{0.5}}, float[{SIZE}] each = {many(0.5)}, float[{SIZE},1] rows = {many(0.5)},
    int64[1] zero = {{0}}, int64[1] last = {{-1}}, int64[1] end = {{{SIZE}}}, int64[2] square = {{{SIZE}, {SIZE}}}> {{
        q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        v = DequantizeLinear <axis = {axis}> (w, ws)
        {between}
        y = {node} }}"""


MATMUL, CONV, IMAGE = "MatMul (d, t)", "Conv (d, t)", "1,32,8,8"
KERNEL = weight(SIZE, SIZE, 1, 1)
TRAINED = (
    """g (float[64,32] x) => (y) <float s = {0.02}, int8 z = {0}, float[32,32] f = FLOATS, float[32] ws = SCALES,
int8[32] wz = ZEROS> {
    q = QuantizeLinear (x, s, z)
    d = DequantizeLinear (q, s, z)
    w = QuantizeLinear <axis = 0> (f, ws, wz)
    v = DequantizeLinear <axis = 0> (w, ws, wz)
    t = Transpose <perm = [1, 0]> (v)
    y = MatMul (d, t) }""".replace("FLOATS", many(0.3, 1024))
    .replace("SCALES", many(0.01))
    .replace("ZEROS", many(0))
)
MOVED = """g (float[1,8,8,8] x) => (y) <float s = {0.02}, int8 z = {0}> {
    q = QuantizeLinear (x, s, z)
    m = NODE
    y = DequantizeLinear (m, s, z) }"""
STORED = "g (float[2,2] x) => (y) <int8[2,2] w = {1, 2, 3, 4}, float s = {0.1}> { NODES y = MatMul (x, d) }"
ELSEWHERE = product("t = Identity (v)", CONV, axis=0, stored=KERNEL, x=IMAGE)


def carried(name: str, text: str) -> Case:
    """Return a case whose DQ the builder does to the constant."""
    return Case(name, text, (UNVERIFIED,), why="the builder does it to the constant", int8=100)


def lost(name: str, text: str, why: str, rule: str = ADJACENT) -> Case:
    """Return a case whose product is a float one."""
    return Case(name, text, (rule,), why=why, int8=0)


QUANTIZED: tuple[Case, ...] = (
    Case("linear", product("t = v", MATMUL).replace("t = v", "").replace("(d, t)", "(d, v)"), int8=100),
    carried("linear_transpose", product("t = Transpose <perm = [1, 0]> (v)", MATMUL, axis=0)),
    carried("linear_transpose_gemm", product("t = Transpose <perm = [1, 0]> (v)", "Gemm (d, t)", axis=0)),
    carried("trained_linear_transpose", TRAINED),
    carried("linear_identity", product("t = Identity (v)", MATMUL)),
    carried("linear_unsqueeze", product("t = Unsqueeze (v, zero)", MATMUL)),
    carried("linear_slice", product("t = Slice (v, zero, end, zero)", MATMUL, stored=weight(48, SIZE))),
    carried("linear_factor", product("t = Mul (v, half)", MATMUL)),
    carried("linear_factor_per_channel", product("t = Mul (v, each)", MATMUL)),
    carried("linear_quotient", product("t = Div (v, half)", MATMUL)),
    carried("linear_factor_transpose", product("a = Mul (v, half) t = Transpose <perm = [1, 0]> (a)", MATMUL, axis=0)),
    carried("linear_reshape_per_tensor", product("t = Reshape (v, square)", MATMUL, stored=weight(16, 64), scales=0)),
    carried("conv_identity", ELSEWHERE),
    carried("conv_transpose", product("t = Transpose <perm = [1, 0, 2, 3]> (v)", CONV, stored=KERNEL, x=IMAGE)),
    carried("conv_unsqueeze", product("t = Unsqueeze (v, last)", CONV, axis=0, stored=weight(SIZE, SIZE, 1), x=IMAGE)),
    lost("linear_wrong_axis", product("", "MatMul (d, v)", axis=0), "the kernel dequantizes both operands", SCALES),
    lost("conv_wrong_axis", product("", "Conv (d, v)", stored=KERNEL, x=IMAGE), "the same", SCALES),
    lost("linear_factor_per_row", product("t = Mul (v, rows)", MATMUL), "a factor for each row"),
    lost("linear_factor_beside_one_scale", product("t = Mul (v, each)", MATMUL, scales=0), "more factors than scales"),
    lost("linear_sum", product("t = Add (v, half)", MATMUL), "an addition is no factor"),
    lost("linear_relu", product("t = Relu (v)", MATMUL), "computed in float"),
    lost("linear_wrong_axis_transposed", product("t = Transpose <perm = [1, 0]> (v)", MATMUL), "the axis moves along"),
    lost(
        "linear_reshape",
        product("t = Reshape (v, square)", MATMUL, stored=weight(16, 64), scales=64),
        "the axis is divided",
    ),
    *(
        lost(
            f"conv_transpose_axis_{axis}",
            product("", "ConvTranspose (d, v)", axis=axis, stored=KERNEL, x=IMAGE),
            "RTX has no INT8 kernel, whatever the axis",
            UNVERIFIED,
        )
        for axis in (0, 1)
    ),
    Case(
        "microsoft_quantizers",
        ELSEWHERE.replace("= Q", "= com.microsoft.Q").replace("= D", "= com.microsoft.D"),
        (UNVERIFIED,),
        int8=100,
        domains=("com.microsoft",),
    ),
    *(
        Case(f"int8_{name}", MOVED.replace("NODE", node))
        for name, node in {
            "transpose": "Transpose <perm = [0, 2, 3, 1]> (q)",
            "concat": "Concat <axis = 1> (q, q)",
            "max_pool": "MaxPool <kernel_shape = [2, 2]> (q)",
        }.items()
    ),
    Case("int8_sum", MOVED.replace("NODE", "Add (q, q)"), (UNVERIFIED,), why="no document lists it"),
    Case("int8_exp", MOVED.replace("NODE", "Exp (q)"), (OPERATOR,), "refused"),
    Case("int8_constant", STORED.replace("NODES", "d = DequantizeLinear (w, s)"), ("whole-operator",), int8=0),
    Case(
        "int8_constant_moved",
        STORED.replace("NODES", "t = Transpose <perm = [1, 0]> (w) d = DequantizeLinear (t, s)"),
        ("whole-operator", OPERATOR),
        "refused",
        "an INT8 constant feeds a DQ only",
    ),
    Case("int8_constant_cast", STORED.replace("NODES", "c = Cast <to = 1> (w) d = Mul (c, s)"), (OPERATOR,), "refused"),
)
