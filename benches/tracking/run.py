"""Measures finding and following people on real videos: prints the tables of RESULTS.md, writes contact sheets.

Run by scripts/tracking, which fetches what this needs. `run.py --help` tells the options.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import cases
import falls
import halves
import looping
import pictures
import play
import redact
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
    out.mkdir(parents=True, exist_ok=True)
    chosen = options.videos.split(",")
    modes = options.modes.split(";")
    for mode in MODES:
        MODES[mode] += f" {options.properties}"
    if "videos" in options.parts:
        results = []
        for name in chosen:
            clip, people = videos.load(name)
            results.append(measure(name, clip, people, modes, out))
        tables(results, modes)
    if "loops" in options.parts:
        results = []
        for name in (name for name in chosen if name in videos.SINGLE):
            clip, people = videos.load(name)
            clip, people, breaks = videos.loop(clip, people, pictures.room(clip.size).tobytes())
            results.append(measure(f"{name} for {looping.SECONDS} s", clip, people, ["track"], out, breaks))
        tables(results, ["track"])
    if "cases" in options.parts:
        halves.measure(MODES["track"], out)
        falls.measure(MODES["track"], out)
        cases.measure()
    if "pictures" in options.parts:
        pictures.measure({mode: MODES[mode] for mode in modes if mode in ("full-frame", "track")}, out)
        pictures.measure_singly(MODES["track"], (2, 1, 0.5, 0.2), options.every, out)
    if "redact" in options.parts:
        redact.measure(out)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", default="videos,loops,cases,pictures,redact", help="any of videos, loops, cases, pictures, redact")
    parser.add_argument("--videos", default=",".join(videos.FILES), help="names, with commas between")
    parser.add_argument("--modes", default=";".join(MODES), help="names, with semicolons between")
    parser.add_argument("--properties", default="", help="of the element, in every mode: precision=fp32")
    parser.add_argument("--every", type=int, default=1, help="of pictures without people, singly: every so manyth")
    parser.add_argument("--out", default="out/tracking", help="folder of the contact sheets")
    return parser.parse_args()


@dataclass
class Result:
    """A video in each mode."""

    name: str
    rate: float
    reports: dict
    """{mode: score.Report}"""
    crops: dict
    """{mode: crops a frame}"""
    people: float
    """People in a frame by truth: the crops of an oracle."""


def measure(name, clip, people, modes, out, breaks=()):
    """Plays the video in each mode; tells its figures and the frames that went wrong on stderr.

    In Pose2Sim's single-person videos, whose people are there from the first frame, tracking is judged from half a second on;
    in the others from the first frame on in which the person is wholly there.
    """
    result = Result(name, clip.rate, {}, {}, sum(map(len, people.values())) / len(clip.frames))
    for mode in modes:
        boxes = None
        if mode == "oracle":
            boxes = {frame: [(i, *person.box) for i, person in there.items()] for frame, there in people.items()}
        found, stats = play.play(clip, MODES[mode], boxes)
        grace = round(clip.rate / 2) if mode.startswith("track") and name.startswith(tuple(videos.SINGLE)) else 0
        report = score.follow(found, people, grace, breaks)
        result.reports[mode], result.crops[mode] = report, stats["crops"] / stats["frames-out"]
        for identity, person in report.people.items():
            words = f"right {percent(person.right, person.judged)} %, found {percent(person.found, person.judged)} %"
            words += f", {person.switches} switches, not right in {ranges(person.misses) or 'none'}"
            print(f"{name}, {mode}, person {identity}: {words}", file=sys.stderr)
        words = f"{result.crops[mode]:.2f} crops a frame, {report.doubles} doubles, {report.strangers} strangers"
        print(f"{name}, {mode}: {words}", file=sys.stderr, flush=True)
        sheet.write(out / f"{name} {mode}.png".replace(" ", "-").replace(",", ""), clip, found, people)
    return result


def tables(results, modes):
    """Prints what was measured, with a line for each person and for each video."""
    print("\nRight, % of the frames judged (changes of the id):\n")
    print(row("video", "person", "judged", *modes))
    print("|---" * (3 + len(modes)) + "|")
    for result, identity in persons(results):
        each = [result.reports[mode].people[identity] for mode in modes]
        cells = [percent(one.right, one.judged) + (f" ({one.switches})" if one.switches else "") for one in each]
        print(row(result.name, identity, each[-1].judged, *cells))
    modes = [mode for mode in modes if mode in ("oracle", "track", "track, smoothed")] or modes
    print("\nFound with any id, and left and right exchanged or not, %; seconds until first right; how far points that stand still")
    print("move from frame to frame, in 1/1000 of the person's height:\n")
    print(row("video", "person", *(f"{what}: {mode}" for mode in modes for what in ("found", "after", "moves"))))
    print("|---" * (2 + 3 * len(modes)) + "|")
    for result, identity in persons(results):
        cells = []
        for one in (result.reports[mode].people[identity] for mode in modes):
            cells.append(percent(one.found, one.judged))
            cells.append("never" if one.wait is None else f"{one.wait / result.rate:.2f}")
            cells.append("-" if one.jitter is None else f"{one.jitter:.1f}")
        print(row(result.name, identity, *cells))
    print("\nPeople a frame by truth, which are the crops of an oracle; crops a frame; found people on somebody whom another is already,")
    print("and on nobody, over all frames:\n")
    print(row("video", "people", *(f"{what}: {mode}" for mode in modes for what in ("crops", "doubles", "strangers"))))
    print("|---" * (2 + 3 * len(modes)) + "|")
    for result in results:
        cells = ((f"{result.crops[m]:.2f}", result.reports[m].doubles, result.reports[m].strangers) for m in modes)
        print(row(result.name, f"{result.people:.2f}", *(cell for each in cells for cell in each)))


def persons(results):
    """Each person of truth that is judged."""
    return [(result, identity) for result in results for identity in next(iter(result.reports.values())).people]


def row(*cells):
    return "| " + " | ".join(map(str, cells)) + " |"


def percent(part, whole):
    return f"{100 * part / whole:.1f}"


def ranges(frames):
    """Frames as words: 3-7, 12."""
    words, first = [], frames[0] if frames else None
    for frame, after in zip(frames, [*frames[1:], None]):
        if after != frame + 1:
            words.append(f"{first}-{frame}" if frame > first else str(first))
            first = after
    return ", ".join(words)


if __name__ == "__main__":
    main()
