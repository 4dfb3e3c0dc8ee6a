"""The parameters of the shading kernel: each name's place in a row of floats.  raster.py writes them as #defines before the
kernel's source, dress.py and scene.py fill them by name, so that there is one list."""
import numpy as np

PARTS = 6                                                           # things beside the body, each a bent ball: hair, hat, bag, ...
PERSON = [("skin", 3), ("hair", 3), ("iris", 3), ("top", 3), ("top2", 3), ("bottom", 3), ("bottom2", 3), ("shoe", 3), ("sock", 3), ("part", 3 * PARTS), ("skirt", 3),
          ("top_pattern", 1), ("top_scale", 1), ("bottom_pattern", 1), ("bottom_scale", 1),   # patterns: PATTERNS
          ("hem", 1), ("neck", 1), ("sleeve", 1), ("waist", 1), ("leg_end", 1), ("shoe_from", 1), ("sock_from", 1), ("glove_from", 1),
          ("hairline", 1), ("beard", 1), ("brow", 1), ("bump", 1), ("gloss", 1), ("zip", 1), ("seed", 1)]
CROP = [("camera", 3),                                              # focal length, centre x, centre y, in pixels
        ("floor", 4),                                               # normal and distance of the floor, in the camera's axes
        ("sun", 3), ("sun_colour", 3), ("sh", 27),                  # towards the sun; 9 spherical harmonics of each colour
        ("light", 12),                                              # camera's axes -> column, row and nearness in the shadow map
        ("shadow", 1), ("ao", 1)]
PATTERNS = ("plain", "rings", "stripes", "checks", "blots", "print", "fine")


def places(table):
    at, out = 0, {}
    for name, n in table:
        out[name] = slice(at, at + n)
        at += n
    return out, at


PERSON_AT, PERSON_SIZE = places(PERSON)
CROP_AT, CROP_SIZE = places(CROP)


def fill(table, size, n, **values):
    """Rows of parameters from arrays by name: [n] or [n,k] each.  A name left out or unknown is an error."""
    missing = set(table) ^ set(values)
    if missing:
        raise ValueError(f"parameters: {sorted(missing)}")
    out = np.zeros((n, size), np.float32)
    for name, v in values.items():
        out[:, table[name]] = np.asarray(v, np.float32).reshape(n, -1)
    return out


def defines():
    lines = [f"#define PARTS {PARTS}", f"#define PERSON_SIZE {PERSON_SIZE}", f"#define CROP_SIZE {CROP_SIZE}"]
    for prefix, table in (("P", PERSON_AT), ("C", CROP_AT)):
        lines += [f"#define {prefix}_{k.upper()} {s.start}" for k, s in table.items()]
    return "\n".join(lines) + "\n"
