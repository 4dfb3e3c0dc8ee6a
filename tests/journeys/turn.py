"""turn.py FILE.mp4: writes into the file's track header what a phone does that was held upright: turn by 90 degrees to show."""
import struct
import sys

with open(sys.argv[1], "r+b") as file:
    data = file.read()
    header = data.index(b"tkhd") + 4
    # Times and duration have 8 bytes each in version 1.
    file.seek(header + (52 if data[header] == 1 else 40))
    file.write(struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30))
