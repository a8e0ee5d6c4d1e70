"""What models are made of that Keras does not have; importing it lets Keras load them.

Motion is layers without weights: gray frames, optical flow, and its encodings.
"""

from casme_tf.layers.colors import FlowToColor, RGBToGray
from casme_tf.layers.farneback_flow import FarnebackFlow
from casme_tf.layers.fused_batch_normalization import FusedBatchNormalization
from casme_tf.layers.local_kernels import LocalKernels
from casme_tf.layers.strain import NormalizeMotion, UVStrain

__all__ = [
    "FarnebackFlow",
    "FlowToColor",
    "FusedBatchNormalization",
    "LocalKernels",
    "NormalizeMotion",
    "RGBToGray",
    "UVStrain",
]
