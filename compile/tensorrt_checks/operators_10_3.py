"""What TensorRT 10.3, the one of JetPack 6, parses: operators with their types, opsets, restrictions.

Source, read and not run: onnx/onnx-tensorrt, docs/operators.md of the 10.15 parser, less what docs/Changelog.md adds after
10.3. It adds the window functions of 10.4, STFT of 10.5, and Attention, RMSNormalization, RotaryEmbedding and TensorScatter
of 10.14 and 10.15. It also adds ellipses in Einsum and integer Pow of 10.8 and 10.12. Opsets 9 to 20 are from
docs/operators.md of 10.0. JetPack 6.x has TensorRT 10.3: NVIDIA's JetPack archive.
"""

from types import MappingProxyType

from onnx_ir import DataType

VERSION = "10.3"
OPSETS = (9, 20)

FLOATS = frozenset({DataType.FLOAT, DataType.FLOAT16, DataType.BFLOAT16, DataType.DOUBLE})
NARROWED = frozenset({DataType.DOUBLE})  # computed as FLOAT, its values clamped
INTEGERS = frozenset({DataType.INT32, DataType.INT64})
BOOL = frozenset({DataType.BOOL})
UINT8 = frozenset({DataType.UINT8})
NUMBERS = FLOATS | INTEGERS
ANY = NUMBERS | BOOL
QUANTIZED = frozenset({DataType.INT8, DataType.UINT8, DataType.INT32, DataType.FLOAT8E4M3FN, DataType.INT4})
STORED = QUANTIZED - UINT8 - INTEGERS  # storage only: Q makes them, DQ reads them
# Types a tensor may have at all, inside and at the graph's border; UINT8 only at the border and around Cast.
TENSORS = ANY | UINT8 | QUANTIZED

_FLOAT_ONLY = """
Acos Acosh Asin Asinh Atan Atanh AveragePool BatchNormalization Ceil Celu Clip Conv ConvTranspose Cos Cosh CumSum
DeformConv Dropout Einsum Elu Erf Exp Floor GRU Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool GridSample
GroupNormalization HardSigmoid HardSwish Hardmax ImageScaler InstanceNormalization IsInf LRN LSTM LayerNormalization
LeakyRelu Log LogSoftmax LpNormalization LpPool MatMul MaxPool MeanVarianceNormalization Mish NonMaxSuppression PRelu
ParametricSoftplus Pow RNN RandomNormal RandomNormalLike RandomUniform RandomUniformLike Reciprocal Resize RoiAlign Round
ScaledTanh Scan Selu Sigmoid Sin Sinh Softmax Softplus Softsign Sqrt Tan Tanh ThresholdedRelu Upsample
"""
_NUMBERS = """
Abs Add ArgMax ArgMin DepthToSpace Div Equal Gelu Greater GreaterOrEqual IsNaN Less LessOrEqual Max Mean Min Mod Mul
Neg Pad Range ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
ReduceSumSquare Relu Scatter ScatterElements ScatterND Shrink Sign SpaceToDepth Sub Sum TopK
"""
_ANY = """
Concat Expand EyeLike Flatten Gather GatherElements GatherND Identity If Loop NonZero OneHot Reshape ReverseSequence
Shape Size Slice Split Squeeze Tile Transpose Trilu Unsqueeze Where
"""
OPERATORS: MappingProxyType[str, frozenset[DataType]] = MappingProxyType(
    {
        **dict.fromkeys(_FLOAT_ONLY.split(), FLOATS),
        **dict.fromkeys(_NUMBERS.split(), NUMBERS),
        **dict.fromkeys(_ANY.split(), ANY),
        **dict.fromkeys(("And", "Not", "Or", "Xor"), BOOL),
        **dict.fromkeys(("Cast", "CastLike"), ANY | UINT8),
        "Constant": TENSORS,
        "ConstantOfShape": TENSORS,
        "QuantizeLinear": FLOATS,
        "DequantizeLinear": QUANTIZED,
    }
)
# Attribute values it takes; an attribute that is absent has ONNX's default, which is in each list.
ATTRIBUTES: MappingProxyType[tuple[str, str], tuple[int | str, ...]] = MappingProxyType(
    {
        ("LSTM", "input_forget"): (0,),
        ("LSTM", "layout"): (0,),
        ("Resize", "antialias"): (0,),
        ("Resize", "coordinate_transformation_mode"): (
            "half_pixel",
            "pytorch_half_pixel",
            "tf_half_pixel_for_nn",
            "asymmetric",
            "align_corners",
        ),
        ("Resize", "keep_aspect_ratio_policy"): ("stretch",),
        ("Resize", "mode"): ("nearest", "linear"),
        ("ScatterND", "reduction"): ("none",),
        ("TopK", "sorted"): (1,),
    }
)
# Operators of which it makes the first output only.
FIRST_OUTPUT = frozenset({"LayerNormalization", "MaxPool"})
# Inputs that must be known when the engine is built, by operator.
BUILD_TIME: MappingProxyType[str, tuple[int, ...]] = MappingProxyType(
    {
        "CumSum": (1,),
        "OneHot": (1,),
        "ReduceL1": (1,),
        "ReduceL2": (1,),
        "ReduceLogSum": (1,),
        "ReduceLogSumExp": (1,),
        "ReduceMax": (1,),
        "ReduceMean": (1,),
        "ReduceMin": (1,),
        "ReduceProd": (1,),
        "ReduceSum": (1,),
        "ReduceSumSquare": (1,),
        "Squeeze": (1,),
        "Unsqueeze": (1,),
    }
)
# Custom operators that the parser itself or NVIDIA's plugin library knows carry its mark in their name.
PLUGIN_MARK = "TRT"
