"""Isaac ROS: a launch file with the nodes that make the tensor, run the engine and draw the first label map."""

from bundle.base.strict_json import dumps
from serving.offer import Offer, Written, require_io, require_onnx

ENGINE = "model.engine"
LAUNCH = '''\
"""{name}: an image in, a tensor list with {count} outputs out. Written for Isaac ROS 4; it was parsed, not launched."""

from pathlib import Path

from launch import LaunchDescription
from launch_ros.actions import ComposableNodeContainer
from launch_ros.descriptions import ComposableNode

HERE = Path(__file__).resolve().parent
OUTPUTS = {outputs}


def generate_launch_description():
    nodes = [
        ComposableNode(
            name="resize",
            package="isaac_ros_image_proc",
            plugin="nvidia::isaac_ros::image_proc::ResizeNode",
            parameters=[
                {{
                    "output_width": {width},
                    "output_height": {height},
                    "keep_aspect_ratio": {keep},
                    "encoding_desired": "rgb8",
                }}
            ],
        ),
{encoder}
        ComposableNode(
            name="tensor_rt",
            package="isaac_ros_tensor_rt",
            plugin="nvidia::isaac_ros::dnn_inference::TensorRTNode",
            parameters=[
                {{
                    "model_file_path": str(HERE / "model.onnx"),
                    "engine_file_path": str(HERE / "{engine}"),
                    "force_engine_update": False,
                    "input_tensor_names": ["image"],
                    "input_binding_names": ["image"],
                    "input_tensor_formats": ["{layout}"],
                    "output_tensor_names": OUTPUTS,
                    "output_binding_names": OUTPUTS,
                    "output_tensor_formats": ["nitros_tensor_list_nhwc_rgb_f32"],
                }}
            ],
            remappings=[("tensor_pub", "tensor"), ("tensor_sub", "outputs")],
        ),
    ]
    container = ComposableNodeContainer(
        name="{name}_container",
        namespace="",
        package="rclcpp_components",
        executable="component_container_mt",
        composable_node_descriptions=nodes,
    )
    return LaunchDescription([container])
'''
PIXELS = """\
        ComposableNode(
            name="image_to_tensor",
            package="isaac_ros_tensor_proc",
            plugin="nvidia::isaac_ros::dnn_inference::ImageToTensorNode",
            parameters=[{"scale": False, "tensor_name": "image"}],
            remappings=[("image", "resize/image")],
        ),"""


def write_isaac_ros(one: Offer) -> Written:
    """Return a launch file, the ONNX graph, and the classes of each label map as ``vision_msgs/LabelInfo`` has them.

    Isaac ROS makes float32 tensors alone, of interleaved pixels: io must be ``nhwc``.

    Raises:
        InputError: the bundle holds no ONNX graph, or has another interface.
    """
    require_onnx(one, "isaac-ros")
    require_io(one, "isaac-ros", "nhwc")
    size, policy = one.manifest.preprocess, one.manifest.dataset.size_policy
    launch = LAUNCH.format(
        name=one.manifest.name.replace(".", "_").replace("-", "_"),
        count=len(one.manifest.outputs),
        outputs=dumps([out.name for out in one.manifest.outputs]),
        width=size.width,
        height=size.height,
        keep=policy in ("letterbox", "pad"),
        encoder=PIXELS,
        engine=ENGINE,
        layout="nitros_tensor_list_nhwc_rgb_f32",
    )
    palettes = one.manifest.dataset.palettes
    labels = {f"label_info_{name}.yaml": _label_info(names, palettes[name]) for name, names in one.label_maps.items()}
    notes = [
        f"copy engines/*.engine of the bundle here as {ENGINE}, after python -m targets judged it on this device",
        "UNetDecoderNode draws a label map alone: network_output_type argmax, color_palette of label_info_TASK.yaml",
    ]
    if policy in ("letterbox", "crop", "pad"):
        notes.append(
            f"the bundle was judged with the policy {policy}: PadNode and CropNode make it, and ResizeNode alone does not"
        )
    return Written(
        files={f"{one.manifest.name}.launch.py": launch, **one.graph_files("model"), **labels},
        runs=f"with {ENGINE}: as judged, {one.judged}; without it the node builds one in FP32 or TF32, which was not judged",
        notes=tuple(notes),
    )


def _label_info(names: tuple[str, ...], palette: tuple[tuple[int, int, int], ...]) -> str:
    """Return class numbers and names as ``vision_msgs/LabelInfo`` has them, and the colours as one number 0xRRGGBB each."""
    rows = "".join(f"  - {{class_id: {index}, class_name: {dumps(name)}}}\n" for index, name in enumerate(names))
    colours = ", ".join(f"0x{red:02X}{green:02X}{blue:02X}" for red, green, blue in palette)
    return f"class_map:\n{rows}color_palette: [{colours}]\n"
