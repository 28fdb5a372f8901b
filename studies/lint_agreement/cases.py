"""Small graphs whose right answer is known: what lint reports for TensorRT 10.3, and what NVIDIA's builder says.

Each is of a kind on which one of the two was wrong. ``why`` says what decides.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

import onnx_ir as ir

from studies.lint_agreement.one_node import typed

Answer = Literal["accepted", "refused", "not judged", "unreadable"]
OPERATOR, MISREAD, OPSET, UNVERIFIED, NORM = "known-operator", "misread", "known-opset", "not-verified", "native-norm"
NOTHING: Mapping[str, tuple[int, ...]] = MappingProxyType({})


class Case(NamedTuple):
    """A graph in ONNX text, the rules that lint reports, the answer of the proof, and why.

    ``newer`` holds the rules for TensorRT 11, where they are others. ``int8`` is the share of the products that multiply
    in INT8, -1 where there are none. ``domains`` are operator sets beside ONNX's own.
    """

    name: str
    text: str
    rules: tuple[str, ...] = ()
    proof: Answer = "accepted"
    why: str = ""
    newer: tuple[str, ...] | None = None
    int8: int = -1
    opset: int = 20
    domains: tuple[str, ...] = ()
    shapes: Mapping[str, tuple[int, ...]] = NOTHING

    def model(self) -> ir.Model:
        """Return the graph, its outputs typed."""
        imports = "".join(f', "{domain}" : 1' for domain in self.domains)
        text = f'<ir_version: 10, opset_import: ["" : {self.opset}{imports}]>\n{self.text}'
        return typed(ir.from_onnx_text(text), ir.DataType.FLOAT)


BIDIRECTIONAL = """g (float[4,1,3] x, float[2,GATES,3] w, float[2,GATES,3] r) => (y) {
    y = OPERATOR <hidden_size = 3, direction = "bidirectional", activations = [LIST]> (x, w, r) }"""
LSTM = BIDIRECTIONAL.replace("OPERATOR", "LSTM").replace("GATES", "12")
GRU = BIDIRECTIONAL.replace("OPERATOR", "GRU").replace("GATES", "9")
BATCHWISE = """g (float[2,5,4] x, float[1,GATES,4] w, float[1,GATES,3] r) => (float[2,5,1,3] y) {
    y = OPERATOR <hidden_size = 3, layout = 1> (x, w, r) }"""
BRANCHES = """g (float[1,4] x, bool c) => (y) <int64[1] a = {0}> {
    y = If (c) <then_branch = t () => (float[n] b) { b = FIRST }, else_branch = e () => (float[1,4] d) { d = SECOND }> }"""
SIZED_BRANCHES = (
    BRANCHES.replace("FIRST", "Squeeze (x, a)")
    .replace("SECOND", "Identity (x)")
    .replace("bool c", "float[2] o")
    .replace("{0}>", "{0}, int64 z = {0}, int64 one = {1}>")
    .replace("y = If", "h = Shape (x) k = Gather (h, z) c = Equal (k, one) y = If")
)
FUNCTION = """g (float[2,2] x) => (y) { y = mine.NAME (x) }
<domain: "mine", opset_import: ["" : 20]> NAME (a) => (b) { b = Sigmoid (a) }"""
PATCHES = """g (float[1,3,h,w] x) => (float[1,n,8] y)
<float[8,3,4,4] k = {KERNEL}, int64[3] s = {1, 8, -1}, float[1,16,8] p = {POSITION}> {
    e = Conv <strides = [4, 4]> (x, k)
    f = Reshape (e, s)
    t = Transpose <perm = [0, 2, 1]> (f)
    y = Add (t, p) }""".replace("KERNEL", ", ".join(["1"] * 384)).replace("POSITION", ", ".join(["1"] * 128))
NORMALIZED = """g (float[2,64] x) => (float[2,64] y)
<int64[1] a = {-1}, float e32 = {0.0001}, float two32 = {2}, float half32 = {0.5}, float less32 = {-0.5}, float one32 = {1}> {
    h = Cast <to = 10> (x) e = Cast <to = 10> (e32) two = Cast <to = 10> (two32)
    half = Cast <to = 10> (half32) less = Cast <to = 10> (less32) one = Cast <to = 10> (one32)
    TAIL
    y = Cast <to = 1> (o) }"""
CENTRED = "m = ReduceMean (h, a) c = Sub (h, m) p = Mul (c, c) v = ReduceMean (p, a) w = Add (v, e) "
MEAN_SQUARE = "p = Mul (h, h) v = ReduceMean (p, a) w = Add (v, e) "
TAILS = {
    "div_sqrt": CENTRED + "r = Sqrt (w) o = Div (c, r)",
    "reciprocal": CENTRED + "r = Sqrt (w) i = Reciprocal (r) o = Mul (c, i)",
    "reciprocal_first": CENTRED + "i = Reciprocal (w) r = Sqrt (i) o = Mul (c, r)",
    "one_over_sqrt": CENTRED + "r = Sqrt (w) i = Div (one, r) o = Mul (c, i)",
    "pow_half": CENTRED + "r = Pow (w, half) o = Div (c, r)",
    "pow_minus_half": CENTRED + "r = Pow (w, less) o = Mul (c, r)",
    "difference_of_means": MEAN_SQUARE.replace("w = Add (v, e)", "m = ReduceMean (h, a) n = Mul (m, m) u = Sub (v, n)")
    + "w = Add (u, e) r = Sqrt (w) c = Sub (h, m) o = Div (c, r)",
    "rms": MEAN_SQUARE + "r = Sqrt (w) o = Div (h, r)",
    "rms_pow": "p = Pow (h, two) v = ReduceMean (p, a) w = Add (v, e) r = Sqrt (w) o = Div (h, r)",
    "l2_sum": "p = Mul (h, h) v = ReduceSum (p, a) r = Sqrt (v) b = Max (r, e) o = Div (h, b)",
    "sum_square": "v = ReduceSumSquare (h, a) r = Sqrt (v) o = Div (h, r)",
    "reduce_l2": "r = ReduceL2 (h, a) o = Div (h, r)",
    "lp_normalization": "o = LpNormalization (h)",
}
IN_FLOAT = """g (float[2,64] x) => (float[2,64] y) <int64[1] a = {-1}, float e = {0.0001}> {
    i = Cast <to = 10> (x) j = Relu (i) h = Cast <to = 1> (j)
    p = Mul (h, h) v = ReduceMean (p, a) w = Add (v, e) r = Sqrt (w) y = Div (h, r) }"""

CASES: tuple[Case, ...] = (
    Case("conv_opset_8", "g (float[1,2,4,4] x, float[2,2,3,3] w) => (y) { y = Conv (x, w) }", opset=8),
    Case("conv_opset_21", "g (float[1,2,4,4] x, float[2,2,3,3] w) => (y) { y = Conv (x, w) }", opset=21),
    Case("relu_opset_24", "g (float[2,2] x) => (y) { y = Relu (x) }", opset=24, why="later opsets widen types only"),
    Case(
        "add_opset_6",
        "g (float[2,2] x) => (y) { y = Add (x, x) }",
        (OPERATOR,),
        "refused",
        "the importer broadcasts from opset 7",
        opset=6,
    ),
    Case(
        "group_norm_21",
        "g (float[1,4,2,2] x, float[4] a, float[4] b) => (y) { y = GroupNormalization <num_groups = 2> (x, a, b) }",
        (OPSET,),
        why="scale per channel since opset 21, read since 10.9",
        newer=(),
        opset=21,
    ),
    Case("clip_int64", "g (int64[4] x) => (y) <int64 a = {0}, int64 b = {3}> { y = Clip (x, a, b) }"),
    Case("cumsum_int32", "g (int32[2,4] x) => (y) <int64 a = {1}> { y = CumSum (x, a) }"),
    Case("equal_bool", "g (bool[4] x, bool[4] z) => (y) { y = Equal (x, z) }"),
    Case(
        "resize_cubic",
        'g (float[1,2,4,4] x) => (y) <float[4] s = {1, 1, 2, 2}> { y = Resize <mode = "cubic"> (x, , s) }',
    ),
    Case(
        "resize_cubic_channels",
        'g (float[1,2,4,4] x) => (y) <float[4] s = {1, 2, 2, 2}> { y = Resize <mode = "cubic"> (x, , s) }',
        (OPERATOR,),
        "refused",
        "cubic over two axes at most",
    ),
    Case(
        "resize_computed_scales",
        "g (float[1,2,4,4] x, float[4] s) => (float[1,2,h,w] y) { y = Resize (x, , s) }",
        (OPERATOR,),
        "refused",
        "a shape tensor is an integer",
    ),
    Case(
        "einsum_ellipsis",
        'g (float[2,3,4] x, float[2,4,5] w) => (y) { y = Einsum <equation = "...ij,...jk->...ik"> (x, w) }',
    ),
    Case(
        "einsum_upper_case",
        'g (float[2,3] x, float[3,4] w) => (y) { y = Einsum <equation = "Ij,jk->Ik"> (x, w) }',
        (OPERATOR,),
        "refused",
    ),
    Case(
        "einsum_diagonal",
        'g (float[3,3] x) => (y) { y = Einsum <equation = "ii->i"> (x) }',
        (OPERATOR,),
        why="10.12 brought it",
        newer=(),
    ),
    Case("topk_not_sorted", "g (float[2,9] x) => (y, i) <int64[1] k = {3}> { y, i = TopK <sorted = 0> (x, k) }"),
    Case("topk_3840", "g (float[1,5000] x) => (y, i) <int64[1] k = {3840}> { y, i = TopK (x, k) }"),
    Case(
        "topk_3841",
        "g (float[1,5000] x) => (y, i) <int64[1] k = {3841}> { y, i = TopK (x, k) }",
        (OPERATOR,),
        "refused",
    ),
    Case(
        "argsort",
        "g (float[1,4000] x) => (y, i) <int64[1] o = {1}> { s = Shape (x) k = Gather (s, o) y, i = TopK (x, k) }",
        (OPERATOR,),
        "refused",
        "K is the length of the axis",
    ),
    Case(
        "pow_integer_exponent",
        "g (float[4] x) => (y) <int64 e = {2}> { y = Pow (x, e) }",
        (OPERATOR,),
        why="10.6's importer refuses any integer; 10.12's takes them",
        newer=(),
    ),
    Case(
        "where_uint8",
        "g (bool[4] c, uint8[4] u, uint8[4] v) => (y) { w = Where (c, u, v) y = Cast <to = 1> (w) }",
        (OPERATOR,),
        "refused",
        "the second and third inputs have a type, too",
    ),
    Case(
        "uint8_inside", "g (float[4] x) => (y) { u = Cast <to = 2> (x) y = Cast <to = 1> (u) }", (OPERATOR,), "refused"
    ),
    Case("uint8_at_the_border", "g (uint8[4] x) => (y) { y = Cast <to = 1> (x) }"),
    Case(
        "fill_uint8",
        "g (float[4] x) => (y) <int64[1] s = {4}> { c = ConstantOfShape <value = uint8[1] {1}> (s) f = Cast <to = 1> (c) y = Add (x, f) }",
        (OPERATOR,),
        "refused",
    ),
    Case(
        "dropout_training",
        "g (float[4] x) => (y) <float r = {0.5}, bool t = {1}> { y = Dropout (x, r, t) }",
        (OPERATOR,),
        "refused",
    ),
    Case("dropout", "g (float[4] x) => (y) <float r = {0.5}, bool t = {0}> { y = Dropout (x, r, t) }"),
    Case(
        "lp_pool_3",
        "g (float[1,2,4,4] x) => (y) { y = LpPool <kernel_shape = [2, 2], p = 3> (x) }",
        (OPERATOR,),
        "refused",
    ),
    *(
        Case(
            f"dilated_{name.lower()}",
            f"g (float[1,2,8,8] x) => (y) {{ y = {name} <kernel_shape = [2, 2], dilations = [2, 2]> (x) }}",
            (OPERATOR,),
            "refused",
        )
        for name in ("AveragePool", "LpPool", "MaxPool")
    ),
    Case(
        "max_pool_indices_unread",
        "g (float[1,2,4,4] x) => (y) { y, i = MaxPool <kernel_shape = [2, 2]> (x) }",
        (OPERATOR,),
        "refused",
        "declared outputs count",
    ),
    Case("lstm_directions_alike", LSTM.replace("LIST", '"Sigmoid", "Tanh", "Tanh", "Sigmoid", "Tanh", "Tanh"')),
    Case(
        "lstm_directions_differ",
        LSTM.replace("LIST", '"Sigmoid", "Tanh", "Tanh", "Sigmoid", "Relu", "Tanh"'),
        (OPERATOR,),
        "refused",
    ),
    Case("gru_directions_differ", GRU.replace("LIST", '"Sigmoid", "Tanh", "Sigmoid", "Relu"'), (OPERATOR,), "refused"),
    *(
        Case(
            f"{name.lower()}_layout",
            BATCHWISE.replace("OPERATOR", name).replace("GATES", str(3 * gates)),
            (MISREAD,),
            why="the parser ignores layout: its output is [2,1,5,3], ONNX's [2,5,1,3]",
        )
        for name, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1))
    ),
    Case(
        "slice_without_axes",
        "g (float[4,4] x) => (y) <int64[1] s = {0}, int64[1] e = {2}> { y = Slice (x, s, e) }",
        (OPERATOR,),
        "refused",
        "absent axes are all axes to the parser",
    ),
    Case(
        "slice_of_all_axes",
        "g (float[4,4] x) => (y) <int64[2] s = {0, 1}, int64[2] e = {2, 2}> { y = Slice (x, s, e) }",
    ),
    Case(
        "split_too_short",
        "g (float[5] x) => (float[2] a, float[2] b, float[2] c, float[n] d) { a, b, c, d = Split <axis = 0, num_outputs = 4> (x) }",
        (OPERATOR,),
        "refused",
        "parts of 2, 2, 2 and -1",
    ),
    Case("vector_by_tensor", "g (float[3] x, float[2,3,4] w) => (y) { y = MatMul (x, w) }", (OPERATOR,), "refused"),
    Case("mod_of_floats", "g (float[4] x) => (y) <float d = {2}> { y = Mod (x, d) }", (OPERATOR,), "refused"),
    Case(
        "branches_differ_in_rank",
        BRANCHES.replace("FIRST", "Squeeze (x, a)").replace("SECOND", "Identity (x)"),
        (OPERATOR,),
        "refused",
    ),
    Case(
        "branches_alike",
        BRANCHES.replace("float[n] b", "float[1,4] b").replace("FIRST", "Relu (x)").replace("SECOND", "Identity (x)"),
    ),
    Case("branches_that_sizes_choose", SIZED_BRANCHES, (UNVERIFIED,), why="the condition is made of a shape"),
    Case(
        "nine_axes",
        """g (float[1,16,16,16] x) => (y) <int64[9] s = {1, 2, 2, 2, 2, 4, 4, 4, 4}, int64[2] t = {16, 256}> {
            r = Reshape (x, s) p = Transpose <perm = [0, 2, 1, 4, 3, 6, 5, 8, 7]> (r) y = Reshape (p, t) }""",
        (OPERATOR,),
        "refused",
    ),
    Case("function_of_a_new_name", FUNCTION.replace("NAME", "Smooth"), domains=("mine",)),
    Case(
        "function_like_a_refused_operator",
        FUNCTION.replace("NAME", "Unique"),
        (OPERATOR,),
        "refused",
        domains=("mine",),
    ),
    Case(
        "function_like_an_operator",
        FUNCTION.replace("NAME", "Relu"),
        (MISREAD,),
        why="the plan has Relu's kernel, not Sigmoid's",
        domains=("mine",),
    ),
    Case(
        "microsoft_gelu",
        "g (float[2,8] x) => (float[2,8] y) { y = com.microsoft.Gelu (x) }",
        domains=("com.microsoft",),
    ),
    Case(
        "microsoft_fast_gelu",
        "g (float[2,8] x) => (float[2,8] y) { y = com.microsoft.FastGelu (x) }",
        (OPERATOR,),
        "refused",
        domains=("com.microsoft",),
    ),
    Case(
        "swish_of_any_domain",
        "g (float[2,8] x) => (float[2,8] y) { y = mine.Swish (x) }",
        (OPERATOR,),
        "accepted",
        "10.3 has no Swish; 11 looks it up by name, in any domain",
        newer=(),
        domains=("mine",),
    ),
    Case("unknown_sizes", PATCHES, proof="not judged", why="64 by 64 is no size of this network"),
    Case("named_sizes", PATCHES, shapes={"x": (1, 3, 16, 16)}),
    Case("unknown_batch", "g (float[n,8] x) => (float[n,8] y) { y = Relu (x) }"),
    Case(
        "sizes_as_an_input",
        "g (float[1,2,4,4] x, int64[4] s) => (float[1,2,h,w] y) { y = Resize (x, , , s) }",
        shapes={"s": (1, 2, 8, 8)},
    ),
    Case(
        "non_zero",
        "g (float[2,8] x) => (int64[2,n] y) { y = NonZero (x) }",
        proof="not judged",
        why="RTX lacks the plugin",
    ),
    Case(
        "roi_align",
        "g (float[1,2,8,8] x, float[1,4] b) => (y) <int64[1] i = {0}> { y = RoiAlign (x, b, i) }",
        proof="not judged",
        why="RTX lacks the plugin",
    ),
    *(
        Case(f"half_{name}", NORMALIZED.replace("TAIL", tail), (NORM,), why="a square above 65,504 is infinite")
        for name, tail in TAILS.items()
    ),
    Case("float_island", IN_FLOAT, why="the squares are FP32"),
    Case(
        "standard_deviation",
        NORMALIZED.replace("TAIL", MEAN_SQUARE + "r = Sqrt (w) o = Mul (h, r)"),
        why="it divides nothing",
    ),
)
