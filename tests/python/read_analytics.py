"""Python reads people from GstAnalytics, through gi alone: run by tests/gstreamer-versions in each GStreamer, with the
network tests/networks/dots.onnx, which finds a white square's centre."""
import pathlib
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstAnalytics", "1.0")
gi.require_version("GstVideo", "1.0")
from gi.repository import GLib, Gst, GstAnalytics, GstVideo

WIDTH, HEIGHT = 640, 480
# Two people's boxes, one with an upstream id, and a white square of 21 pixels in each.
PEOPLE = [((100, 80, 150, 200), None, (190, 150)), ((400, 200, 120, 240), 12, (450, 300))]
NETWORK = pathlib.Path(__file__).resolve().parents[1] / "networks" / "dots.onnx"


def frame():
    picture = bytearray(WIDTH * HEIGHT * 3)
    for _, _, (x, y) in PEOPLE:
        for row in range(y - 10, y + 11):
            start = 3 * (row * WIDTH + x - 10)
            picture[start : start + 63] = b"\xff" * 63
    buffer = Gst.Buffer.new_wrapped(bytes(picture))
    for (x, y, width, height), number, _ in PEOPLE:
        region = GstVideo.buffer_add_video_region_of_interest_meta(buffer, "person", x, y, width, height)
        if number is not None:
            region.id = number
    return buffer


def found_in(buffer):
    caps = f"video/x-raw,format=RGB,width={WIDTH},height={HEIGHT},framerate=30/1"
    pipeline = Gst.parse_launch(
        f"appsrc name=in format=time caps={caps} ! rtmposebatch execution-provider=cpu model-file={NETWORK} ! appsink name=out sync=false"
    )
    assert pipeline.set_state(Gst.State.PLAYING) != Gst.StateChangeReturn.FAILURE, "the pipeline does not start"
    pipeline.get_by_name("in").emit("push-buffer", buffer)
    pipeline.get_by_name("in").emit("end-of-stream")
    sample = pipeline.get_by_name("out").emit("pull-sample")
    pipeline.set_state(Gst.State.NULL)
    assert sample, "no frame came out"
    return sample.get_buffer()


def related(meta, first, kind):
    """Entries of this type to which the first one is related."""
    others = (mtd for mtd in meta if isinstance(mtd, kind))
    return [mtd for mtd in others if meta.get_relation(first.id, mtd.id) & GstAnalytics.RelTypes.RELATE_TO]


Gst.init(None)
key_points = hasattr(GstAnalytics, "KeypointMtd")
buffer = found_in(frame())
meta = GstAnalytics.buffer_get_analytics_relation_meta(buffer)
objects = [mtd for mtd in meta if isinstance(mtd, GstAnalytics.ODMtd)]
assert len(objects) == len(PEOPLE), objects
for person, (box, number, (x, y)) in zip(objects, PEOPLE):
    assert GLib.quark_to_string(person.get_obj_type()) == "person"
    found, *location, confidence = person.get_location()
    assert found and tuple(location) == box, location
    assert 0.9 < confidence <= 1, confidence
    tracks = [track.get_info()[1] for track in related(meta, person, GstAnalytics.TrackingMtd)]
    assert tracks == ([] if number is None else [number]), tracks
    if not key_points:
        continue
    (group,) = related(meta, person, GstAnalytics.GroupMtd)
    assert group.get_semantic_tag() == "pose/custom-3"
    points = [point.get_position()[1:3] for point in group]
    assert len(points) == 3, points
    # Half a network pixel is up to 0.65 pixels of the frame.
    assert all(abs(found_x - x) <= 1.5 and abs(found_y - y) <= 1.5 for found_x, found_y in points), points
    assert all(0.9 < point.get_confidence()[1] <= 1 for point in group)

version = Gst.version_string()
print(f"{version}: {len(objects)} people{', their key points' if key_points else ''} read by Python {sys.version.split()[0]}")
