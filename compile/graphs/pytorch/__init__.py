"""An ONNX graph as a ``torch.fx.GraphModule``: for evaluation in float64, for torch-tensorrt, for tuning."""
