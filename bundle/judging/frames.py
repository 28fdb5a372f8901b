"""A camera frame in, each task's map out, whichever interface a bundle has (bundle/formats/io_forms.py)."""

from collections.abc import Mapping

from bundle.formats.io_forms import model_input, prediction
from bundle.formats.manifest import Manifest
from bundle.tasks.dataset import check_image
from bundle.tasks.fit import fit_image
from bundle.tasks.spec import Array
from bundle.tasks.table import task


def feed(manifest: Manifest, frame: Array, *, name: str = "the image given") -> dict[str, Array]:
    """Return what a session of this bundle takes for a frame, uint8 ``[H, W, 3]`` RGB.

    A frame of another size than the model's gets it by the policy of the data that the bundle was judged on.

    Raises:
        DatasetError: another size where that data has no policy, another dtype, or NaN; ``name`` says which image.
    """
    preprocess, policy = manifest.preprocess, manifest.dataset.size_policy
    if policy is not None:
        size = (preprocess.height, preprocess.width)
        frame = fit_image(check_image(frame, where=name), size, policy, where=name)
    return {"image": model_input(manifest.io, preprocess, frame, name=name)}


def predictions(manifest: Manifest, outputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return each task's map of what a session answered, without the batch axis.

    Label maps uint8 ``[H, W]``, probabilities float32 ``[H, W]``, unit normals float32 ``[3, H, W]``, metres float32 ``[H, W]``.

    Raises:
        RegressionFailed: a raw output holds NaN or infinity.
    """
    return {name: prediction(manifest.io, task(name), outputs[name][0]) for name in manifest.tasks}
