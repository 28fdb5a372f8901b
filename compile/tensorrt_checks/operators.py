"""What TensorRT's ONNX parser takes, by version: operators with their types, restrictions, opsets.

Sources, in the order in which they win:

    1  what NVIDIA's own parser and builder do: TensorRT for RTX 1.7.1, on the graphs in tests/compile/tensorrt_checks
    2  the importers and checkers of onnx/onnx-tensorrt at 0137504 (10.6) and dd0a3a9 (10.15)
    3  its docs/operators.md and docs/Changelog.md at these commits; NVIDIA/TensorRT CHANGELOG.md for what came later

A row of ``SINCE`` cites the line of the changelog that brought it. Where a document lists a type that the parser refuses the
type is not here (Celu in FP16, IsNaN of integers). ``UNLISTED`` holds what TensorRT for RTX takes and no document lists.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from onnx_ir import DataType

Types: TypeAlias = frozenset[DataType]

VERSIONS = ("10.3", "10.13", "10.16", "11")
OLDEST = VERSIONS[0]

NARROWED: Types = frozenset({DataType.DOUBLE})  # computed as FLOAT, its values clamped
WIDE: Types = frozenset({DataType.FLOAT, DataType.DOUBLE})
HALF: Types = WIDE | {DataType.FLOAT16}
FLOATS: Types = HALF | {DataType.BFLOAT16}
INTEGERS: Types = frozenset({DataType.INT32, DataType.INT64})
BOOL: Types = frozenset({DataType.BOOL})
UINT8: Types = frozenset({DataType.UINT8})
INT8: Types = frozenset({DataType.INT8})
NUMBERS = FLOATS | INTEGERS
ANY = NUMBERS | BOOL
QUANTIZED: Types = frozenset(
    {DataType.INT8, DataType.UINT8, DataType.INT32, DataType.FLOAT8E4M3FN, DataType.INT4}
)  # what DQ reads
STORED: Types = frozenset({DataType.INT8, DataType.FLOAT8E4M3FN, DataType.INT4})  # constants of these feed a DQ only
TENSORS = ANY | UINT8 | QUANTIZED  # types a tensor may have at all

_BY_TYPES: tuple[tuple[Types, str], ...] = (
    (WIDE, "Celu ImageScaler MeanVarianceNormalization"),
    (WIDE | {DataType.INT32, DataType.INT64}, "Range"),
    (
        HALF,
        """ConvTranspose DeformConv GRU GlobalLpPool HardSwish LpNormalization LpPool Mish NonMaxSuppression NonZero
        RandomNormalLike RandomUniformLike RoiAlign""",
    ),
    (
        FLOATS,
        """Acos Acosh Asin Asinh Atan Atanh AveragePool BatchNormalization Ceil Conv Cos Cosh Einsum Elu Erf Exp Floor Gelu
        Gemm GlobalAveragePool GlobalMaxPool GridSample GroupNormalization HardSigmoid Hardmax InstanceNormalization IsInf
        IsNaN LRN LSTM LayerNormalization LeakyRelu Log LogSoftmax MatMul MaxPool Mean PRelu ParametricSoftplus Pow
        QuantizeLinear RNN RandomNormal RandomUniform Reciprocal ReduceL2 ReduceLogSum ReduceLogSumExp Resize Round
        ScaledTanh Selu Sigmoid Sin Sinh Softmax Softplus Softsign Sqrt Tan Tanh ThresholdedRelu Upsample""",
    ),
    (FLOATS | {DataType.INT64}, "Relu"),
    (HALF | INTEGERS, "Shrink"),
    (
        NUMBERS,
        """Abs Add ArgMax ArgMin Clip CumSum DepthToSpace Div Greater GreaterOrEqual Less LessOrEqual Max Min Mod Mul
        Neg ReduceL1 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Sign SpaceToDepth Sub Sum
        TopK""",
    ),
    (
        ANY,
        """ConstantOfShape Expand EyeLike Gather GatherElements GatherND If Loop OneHot Pad ReverseSequence Scan Scatter
        ScatterElements ScatterND Slice Split Tile Trilu Where""",
    ),
    (ANY, "Concat Flatten Reshape Squeeze Transpose Unsqueeze"),
    (ANY | UINT8, "Cast CastLike Dropout Equal Identity Shape Size"),
    (BOOL, "And Not Or Xor"),
    (TENSORS, "Constant"),
    (QUANTIZED, "DequantizeLinear"),
)
OPERATORS: Mapping[str, Types] = MappingProxyType({name: types for types, names in _BY_TYPES for name in names.split()})
# What moves elements, or compares them: INT8 between a Q and a DQ goes through as it is.
MOVES_INT8 = frozenset(
    [
        "Concat",
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "GatherElements",
        "GatherND",
        "GlobalMaxPool",
        "Identity",
        "MaxPool",
        "Pad",
        "ReverseSequence",
        "Reshape",
        "Shape",
        "Size",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Trilu",
        "Unsqueeze",
        "Where",
    ]
)
# Types that TensorRT for RTX takes and that no document lists.
UNLISTED: Mapping[str, Types] = MappingProxyType(
    {
        **dict.fromkeys(
            [
                "Abs",
                "Add",
                "ArgMax",
                "ArgMin",
                "AveragePool",
                "Cast",
                "CastLike",
                "Clip",
                "Conv",
                "Div",
                "Dropout",
                "Equal",
                "Erf",
                "EyeLike",
                "Greater",
                "GreaterOrEqual",
                "GroupNormalization",
                "HardSigmoid",
                "HardSwish",
                "InstanceNormalization",
                "LRN",
                "LeakyRelu",
                "Less",
                "LessOrEqual",
                "Max",
                "Min",
                "Mul",
                "Neg",
                "OneHot",
                "PRelu",
                "Reciprocal",
                "ReduceL1",
                "ReduceMax",
                "ReduceMin",
                "ReduceProd",
                "ReduceSum",
                "ReduceSumSquare",
                "Relu",
                "Resize",
                "Scatter",
                "ScatterElements",
                "ScatterND",
                "Shrink",
                "Sign",
                "Softsign",
                "Sub",
                "Sum",
                "ThresholdedRelu",
                "TopK",
                "Upsample",
            ],
            INT8,
        ),
        "GlobalAveragePool": INTEGERS,
        "GlobalMaxPool": INTEGERS,
        "RMSNormalization": INTEGERS | INT8,
    }
)
# The parser's names of ONNX operators that it knows and refuses (onnxOpCheckers.cpp, "unsupported node checkers"): a
# function of such a name is refused, too.
REFUSED = frozenset(
    [
        "AffineGrid",
        "Bernoulli",
        "BitShift",
        "BitwiseAnd",
        "BitwiseNot",
        "BitwiseOr",
        "BitwiseXor",
        "CenterCropPad",
        "Col2Im",
        "Compress",
        "ConcatFromSequence",
        "ConvInteger",
        "DFT",
        "Det",
        "DynamicQuantizeLinear",
        "ImageDecoder",
        "MatMulInteger",
        "MaxRoiPool",
        "MaxUnpool",
        "MelWeightMatrix",
        "Multinomial",
        "NegativeLogLikelihoodLoss",
        "Optional",
        "OptionalGetElement",
        "OptionalHasElement",
        "QLinearConv",
        "QLinearMatMul",
        "RegexFullMatch",
        "SequenceAt",
        "SequenceConstruct",
        "SequenceEmpty",
        "SequenceErase",
        "SequenceInsert",
        "SequenceLength",
        "SequenceMap",
        "SoftmaxCrossEntropyLoss",
        "SplitToSequence",
        "StringConcat",
        "StringNormalizer",
        "StringSplit",
        "TfIdfVectorizer",
        "Unique",
    ]
)


class Addition(NamedTuple):
    """What a release of TensorRT added to the parser: an operator with its types, and the line that says so."""

    version: str
    operator: str
    types: Types
    source: str


SINCE: tuple[Addition, ...] = (
    *(
        Addition("10.4", name, INTEGERS, "Changelog.md, 10.4: BlackmanWindow, HammingWindow, HannWindow")
        for name in ("BlackmanWindow", "HammingWindow", "HannWindow")
    ),
    Addition("10.5", "STFT", FLOATS, "Changelog.md, 10.5: real-valued STFT"),
    Addition("10.12", "Pow", NUMBERS, "Changelog.md, 10.12: integer-typed base tensors for Pow"),
    Addition("10.14", "Attention", FLOATS, "Changelog.md, 10.14: Attention"),
    Addition("10.15", "RMSNormalization", FLOATS, "Changelog.md, 10.15: RMSNormalization"),
    Addition("10.15", "RotaryEmbedding", FLOATS, "Changelog.md, 10.15: RotaryEmbedding"),
    Addition("10.15", "TensorScatter", FLOATS, "Changelog.md, 10.15: TensorScatter"),
    Addition("11", "Swish", FLOATS, "NVIDIA/TensorRT CHANGELOG.md, 11.0: Swish"),
)
# (operator, the opset that changed its meaning): the first version whose parser reads the new one. Every other operator
# that later opsets define again only takes more types there (compared with the definitions of the onnx package).
CHANGED: Mapping[tuple[str, int], str] = MappingProxyType(
    {("GroupNormalization", 21): "10.9"}  # Changelog.md, 10.9: opset 21 GroupNorm
)
# The first version that takes an input that is no constant, by operator and index.
BUILD_TIME: Mapping[tuple[str, int], str] = MappingProxyType(
    {
        ("CumSum", 1): "10.8",  # Changelog.md, 10.8: dynamic axes of CumSum
        ("Pad", 3): "10.4",  # Changelog.md, 10.4: tensor axes for Pad
        **dict.fromkeys(
            [
                (name, 1)
                for name in [
                    "OneHot",
                    "ReduceL1",
                    "ReduceL2",
                    "ReduceLogSum",
                    "ReduceLogSumExp",
                    "ReduceMax",
                    "ReduceMean",
                    "ReduceMin",
                    "ReduceProd",
                    "ReduceSum",
                    "ReduceSumSquare",
                    "Squeeze",
                    "Unsqueeze",
                ]
            ],
            "never",
        ),
    }
)
# Attribute values it takes; an attribute that is absent has ONNX's default, which is in each list.
ATTRIBUTES: Mapping[tuple[str, str], tuple[int | str, ...]] = MappingProxyType(
    {
        ("BatchNormalization", "training_mode"): (0,),
        ("LSTM", "input_forget"): (0,),
        ("LpNormalization", "p"): (1, 2),
        ("LpPool", "p"): (1, 2),
        ("RandomNormal", "dtype"): (1, 10),
        ("RandomNormalLike", "dtype"): (1, 10),
        ("RandomUniform", "dtype"): (1, 10),
        ("RandomUniformLike", "dtype"): (1, 10),
        ("Resize", "antialias"): (0,),
        ("Resize", "coordinate_transformation_mode"): (
            "half_pixel",
            "pytorch_half_pixel",
            "tf_half_pixel_for_nn",
            "asymmetric",
            "align_corners",
        ),
        ("Resize", "keep_aspect_ratio_policy"): ("stretch",),
        ("Resize", "mode"): ("nearest", "linear", "cubic"),
        ("ScatterND", "reduction"): ("none",),
        ("TensorScatter", "mode"): ("linear",),
    }
)
# Attributes that the parser does not read: with another value than ONNX's default it computes something else.
IGNORED: Mapping[tuple[str, str], int] = MappingProxyType(
    {("GRU", "layout"): 0, ("LSTM", "layout"): 0, ("RNN", "layout"): 0}
)
# Operators of which it makes the first output only, whether or not something reads the others.
FIRST_OUTPUT = frozenset({"Attention", "BatchNormalization", "LayerNormalization", "MaxPool"})
# Inputs whose types the table is about, where they are not those with the type of the first one.
DATA_INPUTS: Mapping[str, tuple[int, ...]] = MappingProxyType({"OneHot": (2,), "Pow": (0, 1), "Where": (1, 2)})
# The builder refuses a larger K of TopK, and a tensor of more axes, in every release so far.
LARGEST_K = 3840
MOST_AXES = 8

# Custom operators that the parser itself or NVIDIA's plugin library knows carry its mark in their name.
PLUGIN_MARK = "TRT"


class Table(NamedTuple):
    """The rules of one version of TensorRT."""

    version: str
    operators: Mapping[str, Types]

    def has(self, version: str) -> bool:
        """Say whether this version is as new as another; no version is as new as "never"."""
        return version != "never" and number(self.version) >= number(version)


def number(version: str) -> tuple[int, ...]:
    """Return a version as numbers, to be compared."""
    return tuple(map(int, version.split(".")))


def table_of(version: str) -> Table:
    """Return the table of one of ``VERSIONS``."""
    added = {one.operator: one.types for one in SINCE if number(version) >= number(one.version)}
    return Table(version, MappingProxyType({**OPERATORS, **added}))
