/* Reads people's key points in C, in a probe on a pad, without any header of the plugin.
 *
 *   cc pose_probe.c -o pose_probe $(pkg-config --cflags --libs gstreamer-1.0)
 *   ./pose_probe 'filesrc location=video.mp4 ! decodebin ! videoconvert ! videoflip video-direction=auto !
 *       rtmposebatch name=pose ! fakesink'
 *
 * Prints a line for each person of each frame. docs/metadata.md says what the fields mean.
 */

#include <gst/gst.h>

/* float32 number `index` of a field; the bytes are little-endian on every machine. */
static gfloat
number_at (GBytes * bytes, gsize index)
{
  const guint8 *data = g_bytes_get_data (bytes, NULL);

  return GST_READ_FLOAT_LE (data + 4 * index);
}

static void
print_people (GstClockTime pts, const GstStructure * fields)
{
  guint width, height, people, points;
  GBytes *keypoints = NULL, *scores = NULL, *ids = NULL;
  const gchar *skeleton = gst_structure_get_string (fields, "skeleton");

  if (!gst_structure_get (fields, "width", G_TYPE_UINT, &width, "height", G_TYPE_UINT, &height,
          "people", G_TYPE_UINT, &people, "points", G_TYPE_UINT, &points, "keypoints", G_TYPE_BYTES,
          &keypoints, "scores", G_TYPE_BYTES, &scores, "ids", G_TYPE_BYTES, &ids, NULL)) {
    g_printerr ("a field is missing\n");
    goto out;
  }
  /* Any element can write metadata: lengths are checked before they are relied on. */
  if (g_bytes_get_size (keypoints) != (gsize) people * points * 3 * sizeof (gfloat)
      || g_bytes_get_size (scores) != (gsize) people * sizeof (gfloat)
      || g_bytes_get_size (ids) != (gsize) people * sizeof (gint64)) {
    g_printerr ("the length of a field does not fit people and points\n");
    goto out;
  }

  for (guint person = 0; person < people; person++) {
    const guint8 *id = (const guint8 *) g_bytes_get_data (ids, NULL) + sizeof (gint64) * person;

    g_print ("%" G_GUINT64_FORMAT " ms, person %u, id %" G_GINT64_FORMAT ", %s, score %.2f:",
        pts / GST_MSECOND, person, (gint64) GST_READ_UINT64_LE (id), skeleton, number_at (scores, person));
    for (guint point = 0; point < points; point++) {
      gsize at = 3 * ((gsize) person * points + point);

      /* Positions are fractions of the frame. */
      g_print (" %.1f,%.1f", number_at (keypoints, at) * width, number_at (keypoints, at + 1) * height);
    }
    g_print ("\n");
  }

out:
  g_clear_pointer (&keypoints, g_bytes_unref);
  g_clear_pointer (&scores, g_bytes_unref);
  g_clear_pointer (&ids, g_bytes_unref);
}

static GstPadProbeReturn
on_frame (GstPad * pad, GstPadProbeInfo * info, gpointer user_data)
{
  GstBuffer *buffer = GST_PAD_PROBE_INFO_BUFFER (info);
  GstCustomMeta *meta = gst_buffer_get_custom_meta (buffer, "RtmPoseMeta");

  /* A frame that was not inferred has none. */
  if (meta)
    print_people (GST_BUFFER_PTS (buffer), gst_custom_meta_get_structure (meta));
  return GST_PAD_PROBE_OK;
}

int
main (int argc, char **argv)
{
  GError *error = NULL;
  GstElement *pipeline, *pose;
  GstPad *pad;
  GstBus *bus;
  GstMessage *message;
  int status = 0;

  gst_init (&argc, &argv);
  if (argc != 2) {
    g_printerr ("usage: %s 'LAUNCH LINE with rtmposebatch name=pose'\n", argv[0]);
    return 2;
  }
  pipeline = gst_parse_launch (argv[1], &error);
  if (error) {
    g_printerr ("error: %s\n", error->message);
    g_error_free (error);
    g_clear_pointer (&pipeline, gst_object_unref);
    return 1;
  }
  pose = GST_IS_BIN (pipeline) ? gst_bin_get_by_name (GST_BIN (pipeline), "pose") : NULL;
  if (!pose) {
    g_printerr ("error: the launch line has no element with name=pose\n");
    gst_object_unref (pipeline);
    return 1;
  }
  pad = gst_element_get_static_pad (pose, "src");
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, on_frame, NULL, NULL);

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  bus = gst_element_get_bus (pipeline);
  message = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE, GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
    gst_message_parse_error (message, &error, NULL);
    g_printerr ("error: %s\n", error->message);
    g_error_free (error);
    status = 1;
  }

  gst_message_unref (message);
  gst_object_unref (bus);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pad);
  gst_object_unref (pose);
  gst_object_unref (pipeline);
  return status;
}
