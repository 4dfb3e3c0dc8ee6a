"""How often rtmposeoverlay redact=faces covers the heads that can be seen: the share of people in frames, the first ones counted."""

import threading

import cv2
import numpy as np

import play
import sheet
import videos

NAMES = [name for name in videos.FILES if name != "vtest"]
"""Videos whose people have points."""
ENOUGH = 0.95
"""Share of a head's ellipse that has to be covered."""
OVERLAY = "! rtmposeoverlay redact=faces score-threshold=100 draw-id=false"
HIDDEN = np.ones((17, 17), np.uint8)
"""In pixelated parts single pixels have their square's colour by chance: holes of this size are closed."""


def head(person):
    """Middle and half axes of the head of somebody who stands with the arms down; None of others, whose box does not end with it."""
    if not person.whole or person.points is None:
        return None
    shoulders, elbows, wrists, hips = (person.points[i : i + 2].mean(0) for i in (0, 2, 4, 6))
    raised = min(person.points[2:6, 1]) < shoulders[1] + 0.1 * (hips[1] - shoulders[1])
    trunk = shoulders - hips
    if raised or -trunk[1] < 0.9 * np.linalg.norm(trunk):
        return None
    top = person.box[1]
    # A quarter of the way from the shoulders to the top is neck.
    chin = shoulders[1] - 0.25 * (shoulders[1] - top)
    height = chin - top
    middle = top + height / 2
    across = shoulders[0] + trunk[0] / -trunk[1] * (shoulders[1] - middle)
    return (across, middle), (0.38 * height, height / 2)


def covered(before, after, place):
    """Share of the ellipse that is pixelated."""
    (x, y), (a, b) = place
    mask = np.zeros(before.shape[:2], np.uint8)
    cv2.ellipse(mask, ((float(x), float(y)), (2 * float(a), 2 * float(b)), 0), 1, -1)
    hidden = (before != after).any(2).astype(np.uint8)
    hidden = cv2.morphologyEx(hidden, cv2.MORPH_CLOSE, HIDDEN)
    return float(hidden[mask > 0].mean())


def pictures(clip, live):
    """The frames as they come out of the overlay."""
    mode = "inference-region=track overload=block"
    pipeline, source, sink, _ = play._start(clip, f"{mode} {OVERLAY}", "is-live=true" if live else "")
    width, height = clip.size
    if not live:
        threading.Thread(target=play._feed, args=(source, clip, None)).start()
    for index in range(len(clip.frames)):
        if live:
            # Each frame has its answer before the next one comes, as at a camera that is not too fast for the machine.
            source.emit("push-buffer", play._buffer(clip, index))
        sample = sink.emit("pull-sample")
        with sample.get_buffer().map(play.Gst.MapFlags.READ) as memory:
            yield np.frombuffer(memory.data, np.uint8).reshape(height, width, 3).copy()
    pipeline.set_state(play.Gst.State.NULL)


def measure(out):
    print("\n| heads hidden | heads in frames | covered, % | in each person's first half second, % | videos |")
    print("|---|---|---|---|---|")
    for live in (False, True):
        all_of_them, first, tiles = [], [], []
        for name in NAMES:
            clip, people = videos.load(name)
            begins, shares = {}, []
            for number, after in enumerate(pictures(clip, live)):
                for identity, person in people.get(number, {}).items():
                    place = head(person)
                    if place is None:
                        continue
                    begins.setdefault(identity, number)
                    share = covered(clip.picture(number), after, place)
                    shares.append(share >= ENOUGH)
                    if number - begins[identity] < clip.rate / 2:
                        first.append(share >= ENOUGH)
                    if number % 20 == 0 or (share < ENOUGH and number % 5 == 0):
                        (x, y), (a, b) = place
                        shown = after.copy()
                        cv2.ellipse(shown, ((float(x), float(y)), (2 * float(a), 2 * float(b)), 0), (0, 255, 0) if share >= ENOUGH else (0, 0, 255), 2)
                        side = int(4 * b)
                        left, top = max(0, int(x) - side), max(0, int(y) - side)
                        tiles.append(cv2.resize(shown[top : top + 2 * side, left : left + 2 * side], (160, 160)))
            all_of_them += shares
            print(f"<!-- {name}, {'live' if live else 'a file'}: {100 * np.mean(shares):.1f} % of {len(shares)} -->", flush=True)
        kind = "live" if live else "a file"
        sheet.tile_up(out / f"redact-{kind.split()[-1]}.png", tiles, 10)
        print(f"| {kind} | {len(all_of_them)} | {100 * np.mean(all_of_them):.1f} | {100 * np.mean(first):.1f} | {len(NAMES)} |", flush=True)
