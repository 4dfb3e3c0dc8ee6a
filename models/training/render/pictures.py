#!/usr/bin/env python3
"""Gathers the photographs behind the rendered people: only such as are CC0, public domain or CC BY, and show nobody.

    apt-get download lomiri-wallpapers-16.04 python3-skimage python3-sklearn
    for d in *.deb; do dpkg-deb -x $d unpacked; done
    python pictures.py unpacked pictures.npz

Writes a pack of pictures without people (../README.md): it serves as --nobody as well.  The licences are those of the
packages' copyright and README files; each picture was looked at.  Needs Pillow."""
import io
import os
import sys

import numpy as np
from PIL import Image

LOMIRI, SKIMAGE, SKLEARN = "usr/share/backgrounds/", "usr/lib/python3/dist-packages/skimage/data/", "usr/lib/python3/dist-packages/sklearn/datasets/images/"
PICTURES = {                                                        # file: licence, author
    LOMIRI + "Picture_0B_by_freespace.jpg": ("CC BY 4.0", "Trevor \"Freespace\""),
    LOMIRI + "Picture_1A_by_freespace.jpg": ("CC BY 4.0", "Trevor \"Freespace\""),
    LOMIRI + "Wine_by_Jakkub_Mede.jpg": ("CC BY 4.0", "Jakub Mede"),
    LOMIRI + "aitzgorri_by_Aitzol_Berasategi.jpg": ("CC BY 4.0", "Aitzol Berasategi"),
    LOMIRI + "friends_by_Aitzol_Berasategi.jpg": ("CC BY 4.0", "Aitzol Berasategi"),
    LOMIRI + "life_by_Aitzol_Berasategi.jpg": ("CC BY 4.0", "Aitzol Berasategi"),
    LOMIRI + "picosdeeuropa_by_Aitzol_Berasategi.jpg": ("CC BY 4.0", "Aitzol Berasategi"),
    LOMIRI + "seeding_by_Clements_Engelhardt.jpg": ("CC0", "Clemens Engelhardt"),
    LOMIRI + "sunset_by_Aitzol_Berasategi.jpg": ("CC BY 4.0", "Aitzol Berasategi"),
    LOMIRI + "umang_by_Abhishek_Mudgal.jpg": ("CC BY 4.0", "Abhishek Mudgal"),
    SKIMAGE + "brick.png": ("CC0", "CC0Textures"), SKIMAGE + "grass.png": ("CC0", "linolafett"), SKIMAGE + "gravel.png": ("CC0", "CC0Textures"),
    SKIMAGE + "coffee.png": ("CC0", "Rachel Michetti"), SKIMAGE + "chelsea.png": ("CC0", "Stefan van der Walt"),
    SKIMAGE + "rocket.jpg": ("public domain", "SpaceX"),
    SKLEARN + "china.jpg": ("CC BY 2.0", "danielbuechele (Flickr)"), SKLEARN + "flower.jpg": ("CC BY 2.0", "vultilion (Flickr)"),
}
SIDE = 640                                                          # of the shorter side, at most


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    jpegs, names, licences = [], [], []
    for path, (licence, author) in PICTURES.items():
        im = Image.open(os.path.join(sys.argv[1], path)).convert("RGB")
        k = min(1, SIDE / min(im.size))
        im = im.resize((round(im.size[0] * k), round(im.size[1] * k)), Image.LANCZOS)
        out = io.BytesIO()
        im.save(out, "JPEG", quality=88)
        jpegs.append(out.getvalue()), names.append(os.path.basename(path)), licences.append(f"{licence}, {author}")
    np.savez(sys.argv[2], jpeg=np.frombuffer(b"".join(jpegs), np.uint8), offset=np.cumsum([0] + [len(j) for j in jpegs]),
             src=np.array(["nobody"] * len(names)), img_id=np.array(names), licence=np.array(licences))
    print(len(names), "pictures,", sum(len(j) for j in jpegs), "bytes")


if __name__ == "__main__":
    main()
