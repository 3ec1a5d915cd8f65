"""ICC profiles of wider colour spaces, built by hand."""

import struct


def profile(red, green, blue, name):
    """Build a matrix profile of gamma 2.2 with these D50 primaries (ICC.1:2001)."""
    xyz = lambda *v: b"XYZ " + bytes(4) + b"".join(struct.pack(">i", round(x * 65536)) for x in v)
    label = name.encode() + b"\0"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(label)) + label + bytes(78),
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(*red),
        b"gXYZ": xyz(*green),
        b"bXYZ": xyz(*blue),
        **{k: b"curv" + bytes(4) + struct.pack(">IH", 1, round(2.2 * 256)) for k in (b"rTRC", b"gTRC", b"bTRC")},
    }
    table, data = b"", b""
    for tag, content in tags.items():
        content += bytes(-len(content) % 4)
        table += tag + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(data), len(content))
        data += content
    head = struct.pack(">I4sI4s4s4s", 132 + len(table) + len(data), b"none", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">iii", 63190, 65536, 54061) + bytes(48)
    return head + struct.pack(">I", len(tags)) + table + data


ADOBE_RGB = profile((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457), "Adobe RGB")
DISPLAY_P3 = profile((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407), "Display P3")
