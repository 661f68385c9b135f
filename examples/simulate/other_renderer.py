"""edgekd's renderer against Mitsuba 3, a path tracer, on the same rooms and cameras: pictures per processor second.

    pip install mitsuba
    python examples/simulate/other_renderer.py [ROOMS] [SAMPLES] [VARIANT]

Mitsuba gets each room's triangles with their mean colours (no textures), the lamps as spheres, and one bounce. Like
edgekd, it returns colour, depth and ids, and its time includes building the scene once per room. Placing the furniture,
which Mitsuba does not do, counts only in edgekd's time.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np

from edgekd.simulate.camera import Camera
from edgekd.simulate.rooms import RoomSettings, render, view
from edgekd.simulate.scene import Scene

SEED = 77


try:
    import mitsuba as mi
except ImportError:
    mi = None  # --help works without it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rooms", nargs="?", type=int, default=4, metavar="ROOMS")
    parser.add_argument("samples", nargs="?", type=int, default=16, metavar="SAMPLES", help="rays per pixel")
    # llvm_ad_rgb is the fast one on CPUs; it needs LLVM's library
    parser.add_argument("variant", nargs="?", default="scalar_rgb", metavar="VARIANT", help="Mitsuba's variant")
    arguments = parser.parse_args()
    if mi is None:
        parser.error("Mitsuba is not installed: pip install mitsuba")
    mi.set_variant(arguments.variant)
    compare(arguments.rooms, arguments.samples)


def compare(rooms: int, samples: int) -> None:
    settings = RoomSettings()
    count = rooms * settings.views_per_room
    render(settings, SEED, count)  # the textures are baked once per process
    start = time.process_time()
    ours = [render(settings, SEED, index) for index in range(count)]
    own = count / (time.process_time() - start)
    seconds, gaps, agree, noise = 0.0, [], [], []
    for index in range(count):
        scene, camera, _ = view(settings, SEED, index)
        start = time.process_time()
        if index % settings.views_per_room == 0:
            shapes = shapes_of(scene)
            whole = {"type": "scene", "integrator": integrator(), **shapes}
            loaded = mi.load_dict(whole)
        picture = np.array(mi.render(loaded, sensor=sensor(camera), spp=samples, seed=index))
        seconds += time.process_time() - start
        depth, ids = planar(picture[..., 3], camera), np.round(picture[..., 4]).astype(int)
        truth, inside = ours[index].depth, interior(ours[index].ids)
        ids -= ids[inside].min()  # Mitsuba keeps numbering shapes from scene to scene; the first is the room
        gaps.append(np.median(np.abs(depth - truth)[inside] / truth[inside]))
        agree.append((ids == ours[index].ids)[inside].mean())
        if index < 2:
            other = np.array(mi.render(loaded, sensor=sensor(camera), spp=samples, seed=1000 + index))
            apart, both = np.abs(other - picture)[..., :3].sum(axis=2), (other + picture)[..., :3].sum(axis=2)
            noise.append(np.median(apart / np.maximum(both, 1e-6)))
    print(f"{count} pictures of {settings.width}x{settings.height} in {rooms} rooms")
    print(f"ours: {own:.1f} images/s of processor time")
    theirs, name = count / seconds, f"mitsuba {mi.__version__} {mi.variant()}"
    print(f"{name}, {samples} samples a pixel: {theirs:.2f} images/s; ours makes {own / theirs:.0f} times as many")
    print(f"its noise: a pixel is off by {np.mean(noise):.1%} in the median; ours has none that is not asked for")
    print(
        f"depth apart by {np.mean(gaps):.2%} in the median, ids alike in {np.mean(agree):.2%} of pixels off the edges"
    )


def integrator() -> dict[str, object]:
    path = {"type": "path", "max_depth": 3}
    return {"type": "aov", "aovs": "distance:depth,owner:shape_index", "image": path}


def shapes_of(scene: Scene) -> dict[str, object]:
    """One mesh an object id, in the order of ids, so that the index of a shape is its id; then the lamps."""
    shapes: dict[str, object] = {}
    for owner in range(int(scene.objects.max()) + 1):
        chosen = scene.objects == owner
        corners = scene.points[chosen].reshape(-1, 3)
        properties = mi.Properties()
        colour = {"type": "mesh_attribute", "name": "face_color"}
        properties["bsdf"] = mi.load_dict({"type": "twosided", "inner": {"type": "diffuse", "reflectance": colour}})
        mesh = mi.Mesh(f"object{owner:04d}", len(corners), int(chosen.sum()), props=properties)
        means = np.clip(scene.means[scene.material[chosen]], 0, 0.95)
        mesh.add_attribute("face_color", 3, means.ravel().astype(np.float32))
        given = mi.traverse(mesh)
        given["vertex_positions"] = corners.ravel().astype(np.float32)
        given["faces"] = np.arange(len(corners), dtype=np.uint32)
        given.update()
        shapes[f"object{owner:04d}"] = mesh
    for number, lamp in enumerate(scene.lights):
        radius = 0.05  # hung lower, because its shade would hide it
        emitted = [value / (math.pi * radius**2) for value in lamp.colour]
        shapes[f"z_lamp{number}"] = {
            "type": "sphere",
            "center": [lamp.position[0], lamp.position[1], lamp.position[2] - 0.3],
            "radius": radius,
            "emitter": {"type": "area", "radiance": {"type": "rgb", "value": emitted}},
        }
    return shapes


def sensor(camera: Camera) -> mi.Sensor:
    _, down, forward = camera.axes().astype(float)
    position = np.array(camera.position)
    return mi.load_dict(
        {
            "type": "perspective",
            "fov": math.degrees(2 * math.atan(camera.width / 2 / camera.focal)),
            "fov_axis": "x",
            "near_clip": 0.01,
            "to_world": mi.ScalarTransform4f().look_at(list(position), list(position + forward), list(-down)),
            "film": {
                "type": "hdrfilm",
                "width": camera.width,
                "height": camera.height,
                "rfilter": {"type": "box"},
                "pixel_format": "rgb",
            },
        }
    )


def planar(distance: np.ndarray, camera: Camera) -> np.ndarray:
    columns, rows = camera.pixels()
    x, y = (columns - (camera.width - 1) / 2) / camera.focal, (rows - (camera.height - 1) / 2) / camera.focal
    return distance / np.sqrt(1 + x * x + y * y).reshape(distance.shape)


def interior(ids: np.ndarray) -> np.ndarray:
    """Pixels whose neighbours show the same object."""
    same = np.zeros(ids.shape, bool)
    middle = ids[1:-1, 1:-1]
    same[1:-1, 1:-1] = (middle == ids[:-2, 1:-1]) & (middle == ids[2:, 1:-1])
    same[1:-1, 1:-1] &= (middle == ids[1:-1, :-2]) & (middle == ids[1:-1, 2:])
    return same


if __name__ == "__main__":
    main()
