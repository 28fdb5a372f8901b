"""The operators that a graph may hold, and the function that computes each one; the last fitting row counts."""

import torch

from compile.graphs.pytorch import arithmetic, layout, normalization, pooling, products, reduction, resize, sampling
from compile.graphs.pytorch.base import Operator

_AXES = (1,)
_REDUCE = "axes keepdims noop_with_empty_axes"
_WINDOW = "kernel_shape strides dilations pads auto_pad ceil_mode"
_RESIZE = (
    "mode coordinate_transformation_mode nearest_mode cubic_coeff_a exclude_outside antialias extrapolation_value axes "
    "keep_aspect_ratio_policy"
)
_ARG = "axis keepdims select_last_index"

ELEMENTWISE = {
    "Abs": Operator(torch.abs),
    "Acos": Operator(torch.acos),
    "Acosh": Operator(torch.acosh),
    "Add": Operator(torch.add),
    "And": Operator(torch.logical_and),
    "Asin": Operator(torch.asin),
    "Asinh": Operator(torch.asinh),
    "Atan": Operator(torch.atan),
    "Atanh": Operator(torch.atanh),
    "Cast": Operator(arithmetic.cast, "to", ignored="saturate round_mode"),
    "CastLike": Operator(arithmetic.cast_like, ignored="saturate round_mode"),
    "Ceil": Operator(torch.ceil),
    "Celu": Operator(arithmetic.celu, "alpha"),
    "Clip": Operator(arithmetic.clip, "min max"),
    "Cos": Operator(torch.cos),
    "Cosh": Operator(torch.cosh),
    "Div": Operator(arithmetic.divide),
    "Dropout": Operator(arithmetic.dropout, "ratio", static=(1, 2), ignored="seed", since=7, counts=True),
    "Elu": Operator(arithmetic.elu, "alpha"),
    "Equal": Operator(torch.eq),
    "Erf": Operator(torch.erf),
    "Exp": Operator(torch.exp),
    "Floor": Operator(torch.floor),
    "Gelu": Operator(arithmetic.gelu, "approximate"),
    "Greater": Operator(torch.gt),
    "GreaterOrEqual": Operator(torch.ge),
    "HardSigmoid": Operator(arithmetic.hard_sigmoid, "alpha beta"),
    "HardSwish": Operator(arithmetic.hard_swish),
    "Identity": Operator(arithmetic.identity),
    "IsInf": Operator(arithmetic.is_inf, "detect_negative detect_positive"),
    "IsNaN": Operator(torch.isnan),
    "LeakyRelu": Operator(arithmetic.leaky_relu, "alpha"),
    "Less": Operator(torch.lt),
    "LessOrEqual": Operator(torch.le),
    "Log": Operator(torch.log),
    "Max": Operator(arithmetic.greatest),
    "Mean": Operator(arithmetic.mean_of_all),
    "Min": Operator(arithmetic.least),
    "Mish": Operator(arithmetic.mish),
    "Mod": Operator(arithmetic.modulo, "fmod"),
    "Mul": Operator(torch.mul),
    "Neg": Operator(torch.neg),
    "Not": Operator(torch.logical_not),
    "Or": Operator(torch.logical_or),
    "PRelu": Operator(arithmetic.prelu),
    "Pow": Operator(arithmetic.power),
    "Reciprocal": Operator(torch.reciprocal),
    "Relu": Operator(torch.relu),
    "Round": Operator(torch.round),
    "Selu": Operator(arithmetic.selu, "alpha gamma"),
    "Sigmoid": Operator(torch.sigmoid),
    "Sign": Operator(torch.sign),
    "Sin": Operator(torch.sin),
    "Sinh": Operator(torch.sinh),
    "Softplus": Operator(arithmetic.softplus),
    "Softsign": Operator(arithmetic.softsign),
    "Sqrt": Operator(torch.sqrt),
    "Sub": Operator(torch.sub),
    "Sum": Operator(arithmetic.add_all),
    "Swish": Operator(arithmetic.swish, "alpha"),
    "Tan": Operator(torch.tan),
    "Tanh": Operator(torch.tanh),
    "ThresholdedRelu": Operator(arithmetic.thresholded_relu, "alpha"),
    "Where": Operator(torch.where),
    "Xor": Operator(torch.logical_xor),
}
LAYOUT = {
    "Concat": Operator(layout.concat, "axis"),
    "ConstantOfShape": Operator(layout.fill, "value", static=(0,)),
    "DepthToSpace": Operator(layout.depth_to_space, "blocksize mode"),
    "Expand": Operator(layout.expand, static=(1,)),
    "Flatten": Operator(layout.flatten, "axis"),
    "Gather": Operator(layout.gather, "axis"),
    "GatherElements": Operator(layout.gather_elements, "axis"),
    "GatherND": Operator(layout.gather_nd, "batch_dims"),
    "GridSample": Operator(sampling.grid_sample, "mode padding_mode align_corners", since=16),
    "Pad": Operator(layout.pad, "mode pads value", static=(1, 2, 3), since=2),
    "Range": Operator(layout.count_up, ignored="stash_type"),
    "Reshape": Operator(layout.reshape, "shape allowzero", static=(1,)),
    "Shape": Operator(layout.shape_of, "start end"),
    "Size": Operator(layout.size_of),
    "Slice": Operator(layout.slice_axes, "starts ends axes", static=(1, 2, 3, 4)),
    "SpaceToDepth": Operator(layout.space_to_depth, "blocksize mode"),
    "Split": Operator(layout.split, "axis split num_outputs", static=(1,), since=2, counts=True),
    "Squeeze": Operator(layout.squeeze, "axes", static=(1,)),
    "Tile": Operator(layout.tile, static=(1,), since=6),
    "Transpose": Operator(layout.transpose, "perm"),
    "Trilu": Operator(layout.trilu, "upper", static=(1,)),
    "Unsqueeze": Operator(layout.unsqueeze, "axes", static=(1,)),
}
PRODUCTS = {
    "Conv": Operator(products.conv, "auto_pad dilations group pads strides", ignored="kernel_shape"),
    "ConvTranspose": Operator(
        products.conv_transpose,
        "auto_pad dilations group output_padding output_shape pads strides",
        ignored="kernel_shape",
    ),
    "Einsum": Operator(products.einsum, "equation"),
    "Gemm": Operator(products.gemm, "alpha beta transA transB", since=7),
    "MatMul": Operator(torch.matmul),
}
NORMS = {
    "InstanceNormalization": Operator(normalization.instance_norm, "epsilon", since=6),
    "LRN": Operator(normalization.local_response_norm, "alpha beta bias size"),
    "LayerNormalization": Operator(normalization.layer_norm, "axis epsilon", ignored="stash_type", counts=True),
    "LpNormalization": Operator(normalization.lp_norm, "axis p"),
    "RMSNormalization": Operator(normalization.rms_norm, "axis epsilon", ignored="stash_type"),
}
POOLING = {
    "AveragePool": Operator(pooling.average_pool, f"{_WINDOW} count_include_pad"),
    "GlobalAveragePool": Operator(pooling.global_average_pool),
    "GlobalMaxPool": Operator(pooling.global_max_pool),
    "MaxPool": Operator(pooling.max_pool, _WINDOW, ignored="storage_order"),
}
REDUCTION = {
    "ArgMax": Operator(reduction.arg_max, _ARG),
    "ArgMin": Operator(reduction.arg_min, _ARG),
    "CumSum": Operator(reduction.cum_sum, "exclusive reverse", static=(1,)),
    "ReduceL1": Operator(reduction.reduce_l1, _REDUCE, static=_AXES),
    "ReduceL2": Operator(reduction.reduce_l2, _REDUCE, static=_AXES),
    "ReduceLogSum": Operator(reduction.reduce_log_sum, _REDUCE, static=_AXES),
    "ReduceLogSumExp": Operator(reduction.reduce_log_sum_exp, _REDUCE, static=_AXES),
    "ReduceMax": Operator(reduction.reduce_max, _REDUCE, static=_AXES),
    "ReduceMean": Operator(reduction.reduce_mean, _REDUCE, static=_AXES),
    "ReduceMin": Operator(reduction.reduce_min, _REDUCE, static=_AXES),
    "ReduceProd": Operator(reduction.reduce_prod, _REDUCE, static=_AXES),
    "ReduceSum": Operator(reduction.reduce_sum, _REDUCE, static=_AXES),
    "ReduceSumSquare": Operator(reduction.reduce_sum_square, _REDUCE, static=_AXES),
    "TopK": Operator(reduction.top_k, "k axis largest sorted", static=(1,)),
}
CHANGED = {
    "BatchNormalization": (
        Operator(normalization.batch_norm, "epsilon spatial", ignored="momentum", since=7),
        Operator(normalization.batch_norm, "epsilon training_mode", ignored="momentum", since=14),
    ),
    "GroupNormalization": (
        Operator(normalization.group_norm_by_group, "num_groups epsilon", since=18),
        Operator(normalization.group_norm, "num_groups epsilon", ignored="stash_type", since=21),
    ),
    "LogSoftmax": (
        Operator(normalization.log_softmax_of_matrix, "axis"),
        Operator(normalization.log_softmax, "axis", since=13),
    ),
    "Resize": (
        Operator(resize.resize_asymmetric, "mode", static=(1,), since=10),
        Operator(resize.resize, _RESIZE, static=(1, 2, 3), since=11),
    ),
    "Softmax": (Operator(normalization.softmax_of_matrix, "axis"), Operator(normalization.softmax, "axis", since=13)),
    "Upsample": (Operator(resize.resize_asymmetric, "mode scales", static=(1,), since=7),),
}
OPERATORS: dict[str, tuple[Operator, ...]] = CHANGED | {
    name: (row,) for group in (ELEMENTWISE, LAYOUT, PRODUCTS, NORMS, POOLING, REDUCTION) for name, row in group.items()
}


def find_operator(name: str, opset: int) -> Operator | None:
    """Return how a standard operator of an opset is computed, None where it is not known."""
    return next((row for row in reversed(OPERATORS.get(name, ())) if row.since <= opset), None)
