"""People elsewhere than in files of 30 frames a second: single pictures, looks that are far apart, regions from a detector that
misses some, and time stamps that are wrong."""

import itertools

import numpy as np

import pictures
import play
import score
import truth
import videos

LOOKS = 8
RATES = (2, 1, 0.5, 0.2)
INTERVALS = (31, 60, 120)
GAPS = range(1, 11)
JITTER = 0.05
"""Standard deviation of each edge of a detector's box, as a share of its side."""


def measure():
    print("\n| case | persons | reached | what that is |")
    print("|---|---|---|---|")
    single_pictures()
    looks()
    regions()
    stamps()


def row(case, persons, reached, what):
    print(f"| {case} | {persons} | {reached} | {what} |", flush=True)


def right(found, people):
    """Which people of truth are found, left and right exchanged or not."""
    return set(score.pairs(found, people, sides=False))


def single_pictures():
    """Every twentieth frame of the videos that is marked, each by itself, with an empty room between them."""
    given = there = 0
    for name in videos.FILES:
        marks = truth.load(name)
        chosen = [frame for frame in range(0, max(marks) + 1, 20) if frame in marks]
        shown = [videos.still(name, frame) for frame in chosen]
        people = [{i: person for i, person in marks[frame].items() if person.whole} for frame in chosen]
        height, width = shown[0].shape[:2]
        empty = pictures.room((width, height))
        by_boxes = {n: [(i, *person.box) for i, person in who.items()] for n, who in enumerate(people)}
        oracle, _ = play.play(play.pictures(shown, 1), "inference-region=roi-list", by_boxes)
        apart = play.pictures((picture for one in shown for picture in (one, empty)), 1)
        found, _ = play.play(apart, "inference-region=track track-lifetime=0")
        for number, who in enumerate(people):
            wanted = right(oracle[number], who)
            given, there = given + len(wanted), there + len(wanted & right(found[2 * number], who))
    row("single pictures", given, f"{100 * there / given:.1f} %", "of those whom boxes of truth give, found in the picture")


def looks():
    """Somebody who stands there, at few frames a second, and with inference-interval."""
    for (name, frame), live in itertools.product([("single-cam01", 0), ("sports2d", 120)], [False, True]):
        whole, people = videos.still(name, frame), truth.load(name)[frame]
        picture = np.ascontiguousarray(whole[::2, ::2][:, : whole.shape[1] // 8 * 4])
        people = {i: half(person) for i, person in people.items() if person.whole}
        kind = "live" if live else "a file"
        for rate in RATES:
            clip = play.pictures([picture] * LOOKS, rate)
            clip.frames = list(clip.frames)
            found = play.play_live(clip, "inference-region=track") if live else play.play(clip, "inference-region=track")[0]
            row(f"{rate} frames a second, {kind}, {name}", len(people), *by_look(found, people))
        if live:
            continue
        for interval in INTERVALS:
            clip = play.pictures(itertools.repeat(picture, (LOOKS - 1) * interval + 1), 30)
            found, _ = play.play(clip, f"inference-region=track inference-interval={interval}")
            row(f"inference-interval={interval}, {kind}, {name}", len(people), *by_look(found[::interval], people))


def half(person):
    """In a picture of half the size."""
    return truth.Person(person.box / 2, person.points / 2, person.whole)


def by_look(found, people):
    """In words: at which look each was found, and how many of the looks from then on show him."""
    there = {i: [i in right(one, people) for one in found] for i in people}
    firsts = [looks.index(True) + 1 if True in looks else "never" for looks in there.values()]
    kept = [sum(looks[looks.index(True) :]) / (len(looks) - looks.index(True)) for looks in there.values() if True in looks]
    words = f"the look at which each was found; then there in {100 * np.mean(kept):.0f} %" if kept else "nobody"
    return "look " + ", ".join(map(str, firsts)), words


def regions():
    """Boxes of truth that tremble, of which one person's at a time is missing for a while."""
    noise = np.random.default_rng(1)
    for gap in GAPS:
        persons = changes = 0
        for name in ("multi-cam01", "sports2d"):
            clip, people = videos.load(name)
            # Half the size is enough.
            halves = (np.ascontiguousarray(clip.picture(n)[::2, ::2]) for n in range(len(clip.frames)))
            small = play.pictures(halves, round(clip.rate))
            boxes, order = {}, {}
            for frame, who in people.items():
                there = [i for i in who if (frame + 7 * i) % (gap + 20) >= gap]
                order[frame] = there
                side = {i: who[i].box[[2, 3, 2, 3]] for i in there}
                trembling = {i: (who[i].box + noise.normal(0, JITTER, 4) * side[i]) / 2 for i in there}
                boxes[frame] = [(0, *trembling[i]) for i in there]
            found, _ = play.play(small, "inference-region=auto", boxes)
            ids = {}
            for frame, there in order.items():
                # Frames without any box are bridged: who is who there is not told.
                if there and len(found[frame].ids) == len(there):
                    for i, identity in zip(there, found[frame].ids):
                        ids.setdefault(i, []).append(int(identity))
            persons += len(ids)
            changes += sum(a != b for one in ids.values() for a, b in zip(one, one[1:]))
        row(f"regions missing for {gap} frames", persons, changes, "changes of the id")


def stamps():
    """The demo's video with stamps as senders have them."""
    clip, people = videos.load("sports2d")
    count, step = len(clip.frames), 1 / clip.rate
    kinds = {
        "right": [step * n for n in range(count)],
        "one in 60 hours off": [step * n + (40_000 if n % 60 == 59 else 10_000) for n in range(count)],
        "every fifth missing": [None if n % 5 == 4 else step * n for n in range(count)],
        "a jump back in the middle": [step * n + (1000 if n < count // 2 else 0) for n in range(count)],
    }
    for kind, times in kinds.items():
        clip.stamps = times
        found, _ = play.play(clip, "inference-region=track")
        ids = {int(i) for frame in found for i in frame.ids}
        report = score.follow(found, people)
        share = " and ".join(f"{100 * one.right / one.judged:.1f}" for one in report.people.values())
        row(f"stamps: {kind}", len(report.people), len(ids), f"ids; right in {share} % of the frames")
