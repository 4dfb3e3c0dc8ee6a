#!/usr/bin/env python3
"""What GstAnalytics costs a frame: writing people with key points into a relation meta, and copying it from buffer to buffer
as many elements do. Needs GStreamer 1.30 (or 1.29) with its Python overrides; no plugin of ours."""
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstAnalytics", "1.0")
from gi.repository import GLib, Gst, GstAnalytics

ROUNDS = 9


def milliseconds(people, points, reserve):
    """The best of some rounds, of writing and of copying. Without `reserve` the meta has the size that a detector gives it."""
    best = [float("inf")] * 2
    for _ in range(ROUNDS):
        buffer = Gst.Buffer.new_allocate(None, 16, None)
        start = time.perf_counter()
        if reserve:
            size = GstAnalytics.RelationMetaInitParams()
            size.initial_relation_order = people * (points + 3) + 5
            size.initial_buf_size = 72 * size.initial_relation_order
            meta = GstAnalytics.buffer_add_analytics_relation_meta_full(buffer, size)
        else:
            meta = GstAnalytics.buffer_add_analytics_relation_meta(buffer)
        for _ in range(people):
            meta.add_od_mtd(GLib.quark_from_string("person"), 1, 2, 3, 4, 0.5)
            meta.add_keypoints_group(
                "body-pose", GstAnalytics.KeypointDimensions(2), [1] * (2 * points), [0.5] * points, None, [0, 1]
            )
        written = time.perf_counter()
        copy = buffer.copy_region(Gst.BufferCopyFlags.META, 0, 16)
        copied = time.perf_counter()
        assert GstAnalytics.buffer_get_analytics_relation_meta(copy)
        best = [min(best[0], written - start), min(best[1], copied - written)]
    return [1000 * seconds for seconds in best]


Gst.init(None)
print("people points  size      write ms  copy ms")
for people, points in (1, 17), (16, 17), (16, 26), (8, 133), (16, 133):
    for reserve in True, False:
        write, copy = milliseconds(people, points, reserve)
        print(f"{people:6} {points:6}  {'reserved' if reserve else 'default '}  {write:8.3f} {copy:8.3f}")
