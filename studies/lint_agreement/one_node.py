"""A graph of one node for each row of the operator table, in any type."""

import onnx
import onnx_ir as ir

NAMES = {
    ir.DataType.FLOAT: "float",
    ir.DataType.FLOAT16: "float16",
    ir.DataType.BFLOAT16: "bfloat16",
    ir.DataType.DOUBLE: "double",
    ir.DataType.INT8: "int8",
    ir.DataType.INT32: "int32",
    ir.DataType.INT64: "int64",
    ir.DataType.UINT8: "uint8",
    ir.DataType.BOOL: "bool",
}
UNARY = """
Abs Acos Acosh Asin Asinh Atan Atanh Ceil Celu Clip Cos Cosh Dropout Elu Erf Exp Flatten Floor Gelu GlobalAveragePool
GlobalLpPool GlobalMaxPool HardSigmoid HardSwish Hardmax Identity LeakyRelu Log LogSoftmax LpNormalization
MeanVarianceNormalization Mish Neg NonZero Not Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Round Selu Shape Shrink Sigmoid Sign Sin Sinh Size Softmax Softplus
Softsign Sqrt Tan Tanh ThresholdedRelu Transpose Trilu ArgMax ArgMin IsInf IsNaN RandomNormalLike RandomUniformLike Swish
"""
BINARY = (
    "Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul Or PRelu Pow Sub Sum Xor MatMul"
)
X, SQUARE, IMAGE = "T[2,4,6,8] x", "T[4,4] x", "T[1,4,6,6] x"
SEQUENCE = "T[5,2,4] x, T[1,{},4] w, T[1,{},3] r"
# Operator: (inputs, initializers, node).
OTHERS = {
    "AveragePool": (IMAGE, "", "y = AveragePool <kernel_shape = [2, 2]> (x)"),
    "Attention": ("T[1,2,8,16] x, T[1,2,8,16] k, T[1,2,8,16] v", "", "y = Attention (x, k, v)"),
    "BatchNormalization": (IMAGE + ", T[4] a, T[4] b, T[4] c, T[4] d", "", "y = BatchNormalization (x, a, b, c, d)"),
    "BlackmanWindow": ("float[8] x", "int64 n = {8}", "w = BlackmanWindow (n)\n y = Mul (x, w)"),
    "Cast": (X, "", "y = Cast <to = 1> (x)"),
    "CastLike": (X, "float l = {1}", "y = CastLike (x, l)"),
    "Concat": (X, "", "y = Concat <axis = 1> (x, x)"),
    "Conv": (IMAGE + ", T[4,4,3,3] w", "", "y = Conv (x, w)"),
    "ConvTranspose": (IMAGE + ", T[4,4,3,3] w", "", "y = ConvTranspose (x, w)"),
    "CumSum": (X, "int64 a = {1}", "y = CumSum (x, a)"),
    "DeformConv": (IMAGE + ", T[4,4,3,3] w, T[1,18,4,4] o", "", "y = DeformConv (x, w, o)"),
    "DepthToSpace": (IMAGE, "", "y = DepthToSpace <blocksize = 2> (x)"),
    "Einsum": (SQUARE, "", 'y = Einsum <equation = "ij,jk->ik"> (x, x)'),
    "Expand": ("T[2,1] x", "int64[2] s = {2, 3}", "y = Expand (x, s)"),
    "EyeLike": (SQUARE, "", "y = EyeLike (x)"),
    "GRU": (SEQUENCE.format(9, 9), "", "h, y = GRU <hidden_size = 3> (x, w, r)"),
    "Gather": (X, "int64[2] i = {0, 1}", "y = Gather (x, i)"),
    "GatherElements": (SQUARE, "int64[1,4] i = {0, 1, 2, 3}", "y = GatherElements (x, i)"),
    "GatherND": (SQUARE, "int64[1,2] i = {0, 1}", "y = GatherND (x, i)"),
    "Gemm": (SQUARE + ", T[4,4] w", "", "y = Gemm (x, w)"),
    "GridSample": (IMAGE + ", T[1,6,6,2] g", "", "y = GridSample (x, g)"),
    "GroupNormalization": (IMAGE + ", T[2] a, T[2] b", "", "y = GroupNormalization <num_groups = 2> (x, a, b)"),
    "HammingWindow": ("float[8] x", "int64 n = {8}", "w = HammingWindow (n)\n y = Mul (x, w)"),
    "HannWindow": ("float[8] x", "int64 n = {8}", "w = HannWindow (n)\n y = Mul (x, w)"),
    "ImageScaler": (IMAGE, "", "y = ImageScaler <bias = [1.0, 1.0, 1.0, 1.0]> (x)"),
    "InstanceNormalization": (IMAGE + ", T[4] a, T[4] b", "", "y = InstanceNormalization (x, a, b)"),
    "LRN": (IMAGE, "", "y = LRN <size = 3> (x)"),
    "LSTM": (SEQUENCE.format(12, 12), "", "h, y = LSTM <hidden_size = 3> (x, w, r)"),
    "LayerNormalization": (X + ", T[8] w", "", "y = LayerNormalization (x, w)"),
    "LpPool": (IMAGE, "", "y = LpPool <kernel_shape = [2, 2]> (x)"),
    "MaxPool": (IMAGE, "", "y = MaxPool <kernel_shape = [2, 2]> (x)"),
    "NonMaxSuppression": ("T[1,6,4] x, T[1,2,6] s", "int64 k = {3}", "y = NonMaxSuppression (x, s, k)"),
    "OneHot": ("int64[4] x, T[2] v", "int64 d = {5}", "y = OneHot (x, d, v)"),
    "ParametricSoftplus": (X, "", "y = ParametricSoftplus <alpha = 1.0, beta = 1.0> (x)"),
    "ScaledTanh": (X, "", "y = ScaledTanh <alpha = 1.0, beta = 1.0> (x)"),
    "Pad": (SQUARE, "int64[4] p = {1, 1, 1, 1}", "y = Pad (x, p)"),
    "RMSNormalization": (X + ", T[8] w", "", "y = RMSNormalization (x, w)"),
    "RNN": (SEQUENCE.format(3, 3), "", "h, y = RNN <hidden_size = 3> (x, w, r)"),
    "RandomNormal": ("float[2,2] x", "", "r = RandomNormal <shape = [2, 2]> ()\n y = Add (x, r)"),
    "RandomUniform": ("float[2,2] x", "", "r = RandomUniform <shape = [2, 2]> ()\n y = Add (x, r)"),
    "Range": ("T x", "", "y = Range (x, x, x)"),
    "Reshape": (X, "int64[2] s = {8, 48}", "y = Reshape (x, s)"),
    "Resize": (IMAGE, "float[4] s = {1, 1, 2, 2}", "y = Resize (x, , s)"),
    "ReverseSequence": (SQUARE, "int64[4] n = {1, 2, 3, 4}", "y = ReverseSequence (x, n)"),
    "RoiAlign": (IMAGE + ", T[1,4] b", "int64[1] i = {0}", "y = RoiAlign (x, b, i)"),
    "RotaryEmbedding": ("T[1,2,4,8] x, T[1,4,4] c, T[1,4,4] s", "", "y = RotaryEmbedding (x, c, s)"),
    "STFT": ("T[1,32,1] x", "int64 n = {8}, int64 l = {16}", "y = STFT (x, n, , l)"),
    "Scatter": (SQUARE + ", T[1,4] u", "int64[1,4] i = {0, 1, 2, 3}", "y = Scatter (x, i, u)"),
    "ScatterElements": (SQUARE + ", T[1,4] u", "int64[1,4] i = {0, 1, 2, 3}", "y = ScatterElements (x, i, u)"),
    "ScatterND": (SQUARE + ", T[1,4] u", "int64[1,1] i = {2}", "y = ScatterND (x, i, u)"),
    "Slice": (SQUARE, "int64[2] s = {0, 1}, int64[2] e = {2, 3}", "y = Slice (x, s, e)"),
    "SpaceToDepth": (IMAGE, "", "y = SpaceToDepth <blocksize = 2> (x)"),
    "Split": (SQUARE, "", "y, z = Split <num_outputs = 2> (x)"),
    "Squeeze": ("T[1,4] x", "int64[1] a = {0}", "y = Squeeze (x, a)"),
    "TensorScatter": ("T[1,2,8,4] x, T[1,2,1,4] u", "int64[1] i = {0}", "y = TensorScatter (x, u, i)"),
    "Tile": (SQUARE, "int64[2] n = {2, 2}", "y = Tile (x, n)"),
    "TopK": (SQUARE, "int64[1] k = {2}", "y, i = TopK (x, k)"),
    "Unsqueeze": (SQUARE, "int64[1] a = {0}", "y = Unsqueeze (x, a)"),
    "Upsample": (IMAGE, "float[4] s = {1, 1, 2, 2}", "y = Upsample (x, s)"),
    "Where": (SQUARE + ", bool[4,4] c", "", "y = Where (c, x, x)"),
}
OPSETS = {  # where 20 has not the operator
    "Attention": 23,
    "RMSNormalization": 23,
    "RotaryEmbedding": 23,
    "Scatter": 10,
    "Swish": 24,
    "TensorScatter": 24,
    "Upsample": 9,
}
MADE = (*UNARY.split(), *BINARY.split(), *OTHERS)


def one_node(operator: str, kind: ir.DataType) -> ir.Model:
    """Return a graph of one such node, whose data has this type."""
    inputs, constants, node = OTHERS.get(operator, (X, "", f"y = {operator} (x)"))
    if operator in BINARY.split():
        inputs, node = SQUARE, f"y = {operator} (x, x)"
    elif operator == "Trilu":
        inputs = SQUARE
    inputs = inputs.replace("T[", f"{NAMES[kind]}[").replace("T x", f"{NAMES[kind]} x")
    held = f"<{constants}>" if constants else ""
    opset = OPSETS.get(operator, 20)
    text = f'<ir_version: 10, opset_import: ["" : {opset}]>\ng ({inputs}) => (y) {held} {{ {node} }}'
    return typed(ir.from_onnx_text(text), kind)


def typed(model: ir.Model, kind: ir.DataType) -> ir.Model:
    """Give each output the type and shape that onnx infers, or else this type: the parser asks for one."""
    proto = ir.to_proto(model)
    try:
        inferred = {value.name: value for value in onnx.shape_inference.infer_shapes(proto).graph.output}
    except onnx.shape_inference.InferenceError:  # an operator of another domain, or types that ONNX forbids
        inferred = {}
    for output in proto.graph.output:
        if not output.type.tensor_type.elem_type and output.name in inferred:
            output.CopyFrom(inferred[output.name])
        if not output.type.tensor_type.elem_type:
            output.type.tensor_type.elem_type = int(kind)
    return ir.from_proto(proto)
