"""judge.py FILE CONDITION...: lines of rtmposejson against conditions, Python expressions with these names:

lines      the lines, as dictionaries
frames     how many lines
inferred   lines with the status 'inferred'
somebody   lines with at least one person
most       people in the line that has most
ids        the different ids
ordered    time stamps rise
same_as(FILE, within)  share of the points believed in FILE (score .5 and more) that are here too: in the frame of the same number,
           no further away than `within` of the frame's height, whoever they belong to
"""
import json
import sys


def read(file):
    with open(file) as text:
        return [json.loads(line) for line in text]


def points(line):
    return [(point["name"], point["x"], point["y"]) for person in line["people"]
            for point in person["keypoints"] if point["score"] >= 0.5]


def same_as(file, within):
    here = [points(line) for line in lines]
    found = [any(name == other and abs(x - u) <= reach and abs(y - v) <= reach for other, u, v in mine)
             for line, mine in zip(read(file), here) for reach in [within * line["height"]] for name, x, y in points(line)]
    return sum(found) / max(len(found), 1)


lines = read(sys.argv[1])
people = [line["people"] or [] for line in lines]
stamps = [line["pts"] for line in lines]
names = {
    "lines": lines,
    "frames": len(lines),
    "inferred": sum(line["status"] == "inferred" for line in lines),
    "somebody": sum(map(bool, people)),
    "most": max(map(len, people), default=0),
    "ids": {person["id"] for line in people for person in line},
    "ordered": all(a < b for a, b in zip(stamps, stamps[1:])),
    "same_as": same_as,
}
wrong = [condition for condition in sys.argv[2:] if not eval(condition, names)]
for condition in wrong:
    print(f"not so: {condition}")
if wrong:
    shown = {name: value for name, value in names.items() if name not in ("lines", "same_as", "__builtins__")}
    sys.exit(f"{sys.argv[1]}: {shown}")
