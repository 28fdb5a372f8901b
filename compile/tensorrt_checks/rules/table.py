"""The explicit table of rules, in the order in which they are reported."""

from compile.tensorrt_checks.rules import (
    attention_scale,
    bias,
    concat,
    fused_attention,
    layer_norm,
    misread,
    operators,
    opsets,
    residual,
    scales,
    symmetric,
    thin,
    typed_scales,
    unverified,
    weights,
    whole,
)
from compile.tensorrt_checks.rules.view import Rule

RULES: tuple[Rule, ...] = (
    Rule(
        opsets.NAME,
        "",
        "error",
        opsets.check,
        "no operator changed its meaning after the parser learnt it; plain types at the border",
    ),
    Rule(
        operators.NAME,
        "",
        "error",
        operators.check,
        "every operator is in the parser's table, with types, values and shapes it takes",
    ),
    Rule(misread.NAME, "", "error", misread.check, "nothing is read as something else than ONNX defines"),
    Rule(symmetric.NAME, "1", "error", symmetric.check, "signed INT8, symmetric; zero-points absent or 0"),
    Rule(
        scales.NAME,
        "2",
        "error",
        scales.check,
        "scales constant and above 0; one per activation, per channel of a weight",
    ),
    Rule(bias.NAME, "3", "error", bias.check, "biases stay float; no int32 DequantizeLinear"),
    Rule(weights.NAME, "4", "error", weights.check, "a weight stays INT8 from its DQ to its operator"),
    Rule(typed_scales.NAME, "9", "error", typed_scales.check, "a scale has its data's type, and the opset knows it"),
    Rule(concat.NAME, "11", "error", concat.check, "nothing quantized is 0-D; the inputs of a Concat share a scale"),
    Rule(whole.NAME, "5", "warning", whole.check, "every input of a weighted operator is quantized, or none"),
    Rule(residual.NAME, "6", "warning", residual.check, "a residual Add's skip input is quantized"),
    Rule(thin.NAME, "7", "warning", thin.check, "thin products, LayerNorm, softmax and GELU stay in float"),
    Rule(attention_scale.NAME, "8", "warning", attention_scale.check, "attention is scaled before its first product"),
    Rule(fused_attention.NAME, "", "warning", fused_attention.check, "an attention is one that a fused kernel takes"),
    Rule(layer_norm.NAME, "10", "warning", layer_norm.check, "normalization is one operator; it and softmax are FP32"),
    Rule(unverified.NAME, "", "warning", unverified.check, "nothing rests on TensorRT for RTX alone"),
    Rule(operators.NARROWED, "", "warning", operators.check_narrowed, "nothing is in double precision"),
)
