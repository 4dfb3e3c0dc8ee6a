"""Measures finding and following people on real videos: prints the tables of RESULTS.md, writes contact sheets.

Run by scripts/tracking, which fetches what this needs. `run.py --help` tells the options.
"""

import argparse
import sys
import time
from pathlib import Path

import looping
import pictures
import play
import score
import sheet
import videos

MODES = {
    "full-frame": "inference-region=full-frame",
    "oracle": "inference-region=roi-list",
    "track": "inference-region=track",
    "track, lookahead 1": "inference-region=track track-lookahead=1",
    "track, lookahead 4": "inference-region=track track-lookahead=4",
    "track, lookahead 8": "inference-region=track track-lookahead=8",
    "track, smoothed": "inference-region=track smoothing=one-euro",
}


def main():
    options = arguments()
    out = Path(options.out)
    chosen = options.videos.split(",")
    modes = options.modes.split(";")
    if "videos" in options.parts:
        print(HEAD)
        for name in chosen:
            clip, people = videos.load(name)
            measure(name, clip, people, modes, out)
    if "loops" in options.parts:
        print("\n" + HEAD)
        for name in (name for name in chosen if name in videos.SINGLE):
            clip, people = videos.load(name)
            clip, people, breaks = videos.loop(clip, people, pictures.room(clip.size).tobytes())
            measure(f"{name} for {looping.SECONDS} s", clip, people, ["track"], out, breaks)
    if "pictures" in options.parts:
        pictures.measure({mode: MODES[mode] for mode in modes if not mode.startswith("oracle")}, out)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", default="videos,loops,pictures", help="any of videos, loops, pictures")
    parser.add_argument("--videos", default=",".join(videos.FILES), help="names, with commas between")
    parser.add_argument("--modes", default=";".join(MODES), help="names, with semicolons between")
    parser.add_argument("--out", default="out/tracking", help="folder of the contact sheets")
    return parser.parse_args()


HEAD = """| video | mode | person | right, % | found with any id or side, % | id switches | found after, s | still points move, 1/1000 of the height | crops a frame | doubles | strangers |
|---|---|---|---|---|---|---|---|---|---|---|"""


def measure(name, clip, people, modes, out, breaks=()):
    """Plays the video in each mode and prints a line for each person.

    In Pose2Sim's single-person videos, whose people are there from the first frame, tracking is judged from half a second on;
    in the others from the first frame on in which the person is wholly there.
    """
    for mode in modes:
        boxes = None
        if mode == "oracle":
            boxes = {frame: [(i, *person.box) for i, person in there.items()] for frame, there in people.items()}
        start = time.monotonic()
        found, stats = play.play(clip, MODES[mode], boxes)
        seconds = time.monotonic() - start
        grace = round(clip.rate / 2) if mode.startswith("track") and name.startswith(tuple(videos.SINGLE)) else 0
        report = score.follow(found, people, grace, breaks)
        for identity, person in report.people.items():
            print(line(name, mode, identity, person, report, stats, clip.rate), flush=True)
            if person.misses:
                print(f"{name}, {mode}, person {identity}: not right in {ranges(person.misses)}", file=sys.stderr)
        print(f"{name}, {mode}: {len(found)} frames in {seconds:.1f} s", file=sys.stderr)
        sheet.write(out / f"{name} {mode}.png".replace(" ", "-").replace(",", ""), clip, found, people)


def line(name, mode, identity, person, report, stats, rate):
    frames = stats["frames-out"]
    cells = [
        name,
        mode,
        identity,
        f"{100 * person.right / person.judged:.1f} of {person.judged}",
        f"{100 * person.found / person.judged:.1f}",
        person.switches,
        "never" if person.wait is None else f"{person.wait / rate:.2f}",
        "-" if person.jitter is None else f"{person.jitter:.2f}",
        f"{stats['crops'] / frames:.2f}",
        report.doubles,
        report.strangers,
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def ranges(frames):
    """Frames as words: 3-7, 12."""
    words, first = [], frames[0]
    for frame, after in zip(frames, [*frames[1:], None]):
        if after != frame + 1:
            words.append(f"{first}-{frame}" if frame > first else str(first))
            first = after
    return ", ".join(words)


if __name__ == "__main__":
    main()
