"""A minute made of a short video: forward and backward, with hard cuts and nobody for a while."""

SECONDS = 60
CUTS = (15, 45)
"""Seconds at which the loop jumps by half the video."""
EMPTY = (25, 35)
"""Seconds between which the loop shows nobody."""


def order(count, rate):
    """The video's frame shown in each frame of the loop (None: nobody), and the first frames after a cut or the emptiness."""
    there_and_back = [*range(count), *range(count - 2, 0, -1)]
    shown, breaks, position = [], [], 0
    for frame in range(round(SECONDS * rate)):
        second = frame / rate
        if second in CUTS:
            position += count // 2
            breaks.append(frame)
        if EMPTY[0] <= second < EMPTY[1]:
            shown.append(None)
            continue
        if second == EMPTY[1]:
            breaks.append(frame)
        shown.append(there_and_back[position % len(there_and_back)])
        position += 1
    return shown, breaks
