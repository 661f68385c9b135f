"""A ROS 2 node that subscribes to pictures and publishes depth in metres, using a bundle from `edgekd bundle`.

    python3 depth_node.py --ros-args -p bundle:=/home/me/kitchen -r image:=/camera/image_raw

Topics: `image` in (sensor_msgs/Image; rgb8, bgr8 or mono8), `depth` out (sensor_msgs/Image, 32FC1, metres) with the
picture's own stamp and frame. Depth has the network's resolution and covers what the network sees of it.
Parameters: `bundle`, its folder; `runtime` and `precision` as run.py takes them, empty for the first and the fastest.
"""

from __future__ import annotations

import importlib.util
import sys
from array import array
from pathlib import Path
from typing import Any

import numpy as np

CHANNELS = {"rgb8": 3, "bgr8": 3, "mono8": 1}


def load_runner(folder: str) -> Any:
    """The run.py that lies in a bundle, as a module."""
    spec = importlib.util.spec_from_file_location("edgekd_bundle", Path(folder) / "run.py")
    if spec is None or spec.loader is None or not (Path(folder) / "run.py").is_file():
        raise FileNotFoundError(f"{folder!r} holds no run.py: set the parameter bundle to a bundle's folder")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look up their module
    spec.loader.exec_module(module)
    return module


def to_rgb(message: Any) -> np.ndarray:
    """A sensor_msgs/Image as RGB uint8 [H, W, 3]; rows may be padded."""
    channels = CHANNELS.get(message.encoding)
    if channels is None:
        raise ValueError(f"pictures are {message.encoding}; this takes {', '.join(CHANNELS)}")
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    picture = rows[:, : message.width * channels].reshape(message.height, message.width, channels)
    if channels == 1:
        picture = np.repeat(picture, 3, axis=2)
    return np.ascontiguousarray(picture[..., ::-1] if message.encoding == "bgr8" else picture)


def fill(message: Any, depth: np.ndarray, header: Any) -> Any:
    """`message`, a new sensor_msgs/Image, with depth [h, w] in metres."""
    message.header = header
    message.height, message.width = depth.shape
    message.encoding, message.is_bigendian, message.step = "32FC1", int(sys.byteorder == "big"), 4 * depth.shape[1]
    # An array, not bytes: ROS checks every element of bytes, which takes longer than the network.
    message.data = array("B", np.ascontiguousarray(depth, np.float32).tobytes())
    return message


def main() -> None:
    try:
        import rclpy
    except ImportError:
        sys.exit("rclpy not found: source /opt/ros/DISTRO/setup.bash first")
    from rclpy.executors import ExternalShutdownException
    from rclpy.node import Node
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import Image

    class DepthNode(Node):
        def __init__(self) -> None:
            super().__init__("depth")
            for name in ("bundle", "runtime", "precision"):
                self.declare_parameter(name, "")
            folder, *asked = (self.get_parameter(name).value or None for name in ("bundle", "runtime", "precision"))
            self.predictor = load_runner(folder or "").Predictor(
                folder, *asked
            )  # if the self-test fails, the node ends
            self.get_logger().info(f"{self.predictor.about}; self-test {self.predictor.error:.3%} from fp32")
            # Reliable: by default RViz and others take nothing else. Only the camera's newest frame is kept.
            self.publisher = self.create_publisher(Image, "depth", QoSProfile(depth=1))
            newest = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
            self.create_subscription(Image, "image", self.on_image, newest)

        def on_image(self, message: Image) -> None:
            self.publisher.publish(fill(Image(), self.predictor.depth(to_rgb(message)), message.header))

    rclpy.init()
    node = DepthNode()
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):  # the second of systemd and docker
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
