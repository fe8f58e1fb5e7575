#!/usr/bin/env python3
"""Makes tests/corpus/images: good pictures of every type with what is true of them, and hostile ones.

    python tests/corpus/make_images.py

The files are committed, so that tests need neither Python nor Pillow; facts come from how a file was made, not from
the code under test. `expected/` holds what Pillow makes of each, at most 96 pixels wide and high, on white. HEIC needs
pillow-heif as well.
"""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageCms, ImageDraw, ImageFilter

ROOT = Path(__file__).parent / "images"
SIDE = 96
FACTS: dict[str, dict] = {}


def scene(width: int, height: int) -> Image.Image:
    """Smooth, with edges, and different in all four corners."""
    x = np.linspace(0, 1, width)[None, :]
    y = np.linspace(0, 1, height)[:, None]
    planes = [40 + 180 * x + 0 * y, 60 + 150 * y + 0 * x, 200 - 120 * x * y]
    picture = Image.fromarray(np.dstack([np.broadcast_to(p, (height, width)) for p in planes]).astype(np.uint8))
    if min(width, height) < 40:
        return picture
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, width // 4, height // 5), fill=(220, 30, 30))
    draw.ellipse((width // 2, height // 3, width - 8, height - 20), fill=(250, 230, 60))
    draw.polygon([(10, height - 10), (width // 3, height // 2), (width // 2, height - 10)], fill=(20, 90, 60))
    return picture.filter(ImageFilter.GaussianBlur(0.7))


def expected(name: str, upright: Image.Image) -> None:
    """What is to be seen: multiplied with the alpha, turned upright, resampled from all pixels."""
    width, height = upright.size
    scale = min(SIDE / width, SIDE / height, 1)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if "A" in upright.getbands():
        picture = upright.convert("RGBA").resize(size, Image.Resampling.LANCZOS)
        white = Image.new("RGBA", size, "white")
        picture = Image.alpha_composite(white, picture)
    else:
        picture = upright.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    picture.convert("RGB").save(ROOT / "expected" / f"{name}.png", optimize=True)


def good(name: str, data: bytes, upright: Image.Image | None, *, alpha=False, frames=1, turned=False, size=None, tolerance=34):
    (ROOT / "good" / name).write_bytes(data)
    width, height = size or upright.size
    kind = {"jpg": "jpeg", "tif": "tiff"}.get(name.rsplit(".", 1)[1], name.rsplit(".", 1)[1])
    FACTS[name] = {
        "facts": {
            "format": kind,
            "width": width,
            "height": height,
            "animated": frames > 1,
            "frames": frames,
            "has_alpha": alpha,
            "orientation_applied": turned,
        },
        # Least PSNR in dB against Pillow; null where nothing here decodes it.
        "psnr": tolerance if upright is not None else None,
    }
    if upright is not None:
        expected(name, upright)


def saved(picture: Image.Image, format: str, **options) -> bytes:
    out = io.BytesIO()
    picture.save(out, format, **options)
    return out.getvalue()


def decoded(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x010F] = "Camera of the corpus"
    gps = tags.get_ifd(0x8825)
    gps[1], gps[2] = "N", (52.0, 31.0, 12.0)
    gps[3], gps[4] = "E", (13.0, 24.0, 36.0)
    return tags.tobytes()


UPRIGHT = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def jpegs() -> None:
    base = scene(253, 163)
    for name, options in {
        "baseline-420.jpg": {"quality": 90, "subsampling": 2},
        "baseline-422.jpg": {"quality": 90, "subsampling": 1},
        "baseline-444.jpg": {"quality": 92, "subsampling": 0},
        "progressive-420.jpg": {"quality": 90, "progressive": True},
        "progressive-444.jpg": {"quality": 95, "progressive": True, "subsampling": 0},
        "optimised.jpg": {"quality": 75, "optimize": True},
        "restart.jpg": {"quality": 90, "restart_marker_blocks": 3},
        "restart-progressive.jpg": {"quality": 90, "progressive": True, "restart_marker_rows": 1},
        "coarse.jpg": {"quality": 15},
        "rgb.jpg": {"quality": 92, "keep_rgb": True, "subsampling": 0},
    }.items():
        data = saved(base, "JPEG", **options)
        good(name, data, decoded(data))
    for name, progressive in (("grey.jpg", False), ("grey-progressive.jpg", True)):
        data = saved(base.convert("L"), "JPEG", quality=90, progressive=progressive)
        good(name, data, decoded(data))
    data = saved(base.convert("CMYK"), "JPEG", quality=92)
    good("cmyk.jpg", data, decoded(data).convert("RGB"), tolerance=30)
    data = ycck(base)
    good("ycck.jpg", data, decoded(data).convert("RGB"), tolerance=30)
    for orientation, turn in UPRIGHT.items():
        data = saved(base, "JPEG", quality=88, exif=exif(orientation))
        picture = decoded(data)
        upright = picture if turn is None else picture.transpose(turn)
        good(f"orientation-{orientation}.jpg", data, upright, turned=orientation != 1)
    profile = display_p3()
    data = saved(base, "JPEG", quality=95, icc_profile=profile, exif=exif(6))
    picture = decoded(data).transpose(UPRIGHT[6])
    srgb = ImageCms.profileToProfile(picture, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"))
    good("display-p3.jpg", data, srgb, turned=True, tolerance=32)
    data = saved(base, "JPEG", quality=90, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    good("srgb-profile.jpg", data, decoded(data))
    for width, height in ((1, 1), (7, 9), (16, 17), (400, 3)):
        data = saved(scene(width, height), "JPEG", quality=90)
        good(f"size-{width}x{height}.jpg", data, decoded(data), tolerance=28)
    # The comment and the trailing bytes are for the proof that nothing of them is handed on.
    data = saved(base, "JPEG", quality=85, comment=b"secret comment") + b"PK\x03\x04 and more behind the end"
    good("polyglot.jpg", data, decoded(data))


def ycck(picture: Image.Image) -> bytes:
    """As Photoshop saves: what is left of three inks in YCbCr, and black (Adobe's transform 2). Pillow reads it, and
    writes it as plain CMYK, inverted, with another transform."""
    black = picture.convert("L").point(lambda grey: (255 - grey) // 3)
    planes = [*ImageChops.invert(picture).convert("YCbCr").split(), black]
    data = saved(Image.merge("CMYK", [*(ImageChops.invert(plane) for plane in planes[:3]), black]), "JPEG", quality=92)
    place = data.index(b"Adobe") + 11
    assert data[place] == 0
    return data[:place] + b"\x02" + data[place + 1 :]


def display_p3() -> bytes:
    """A matrix profile with the colorants of Display P3 (adapted to D50) and the curve of sRGB."""
    def tag_xyz(x, y, z):
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in (x, y, z)))

    curve = [((i / 1023 + 0.055) / 1.055) ** 2.4 if i / 1023 > 0.04045 else i / 1023 / 12.92 for i in range(1024)]
    curve = b"curv\0\0\0\0" + struct.pack(">I1024H", 1024, *(round(v * 65535) for v in curve))
    text = "P3 of the corpus"
    desc = b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(text) * 2, 28) + text.encode("utf-16-be")
    tags = [
        (b"desc", desc),
        (b"cprt", desc),
        (b"wtpt", tag_xyz(0.9642, 1.0, 0.8249)),
        (b"rXYZ", tag_xyz(0.51512, 0.24120, -0.00105)),
        (b"gXYZ", tag_xyz(0.29198, 0.69225, 0.04189)),
        (b"bXYZ", tag_xyz(0.15710, 0.06657, 0.78407)),
        (b"rTRC", curve),
        (b"gTRC", curve),
        (b"bTRC", curve),
    ]
    table, body = struct.pack(">I", len(tags)), b""
    offset = 128 + 4 + 12 * len(tags)
    for name, data in tags:
        data += b"\0" * (-len(data) % 4)
        table += struct.pack(">4sII", name, offset + len(body), len(data))
        body += data
    header = struct.pack(">I4sI4s4s4s", offset + len(body), b"\0\0\0\0", 0x04200000, b"mntr", b"RGB ", b"XYZ ")
    header += b"\0" * 12 + b"acsp" + b"\0" * 28 + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + table + body


def pngs() -> None:
    base = scene(151, 112)
    alpha = base.convert("RGBA")
    mask = Image.linear_gradient("L").resize(base.size)
    alpha.putalpha(mask)
    for name, picture in {
        "rgb.png": base,
        "rgba.png": alpha,
        "grey.png": base.convert("L"),
        "grey-alpha.png": alpha.convert("LA"),
        "palette.png": base.quantize(64),
        "bilevel.png": base.convert("1", dither=Image.Dither.NONE),
    }.items():
        data = saved(picture, "PNG")
        upright = picture.convert("RGBA" if "A" in picture.getbands() else "RGB")
        good(name, data, upright, alpha="A" in picture.getbands())
    palette = base.quantize(32)
    data = saved(palette, "PNG", transparency=0)
    good("palette-trns.png", data, decoded(data).convert("RGBA"), alpha=True)
    data = saved(base.convert("L").quantize(4), "PNG", bits=2)
    good("palette-2-bits.png", data, decoded(data).convert("RGB"))
    deep = np.asarray(base).astype(np.uint16) * 257
    good("rgb-16.png", raw_png(deep, 16, 2), base)
    grey = np.asarray(base.convert("L")).astype(np.uint16) * 257
    good("grey-16.png", raw_png(grey[:, :, None], 16, 0), base.convert("L"))
    good("interlaced.png", raw_png(np.asarray(base), 8, 2, interlaced=True), base)
    good("interlaced-alpha-16.png", raw_png(np.asarray(alpha).astype(np.uint16) * 257, 16, 6, interlaced=True), alpha, alpha=True)
    data = saved(base, "PNG", exif=exif(8), icc_profile=display_p3())
    profile = ImageCms.ImageCmsProfile(io.BytesIO(display_p3()))
    srgb = ImageCms.profileToProfile(base.transpose(UPRIGHT[8]), profile, ImageCms.createProfile("sRGB"))
    good("display-p3-turned.png", data, srgb, turned=True, tolerance=32)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(pixels: np.ndarray, bits: int, colour: int, interlaced=False, extra=b"") -> bytes:
    """Without filters: what Pillow does not write."""
    height, width = pixels.shape[:2]
    pixels = pixels.astype(">u2" if bits == 16 else np.uint8)
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    raw = b""
    for x, y, across, down in passes:
        for row in pixels[y::down, x::across]:
            if row.size:
                raw += b"\0" + row.tobytes()
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b"")


def others() -> None:
    base = scene(151, 112)
    alpha = base.convert("RGBA")
    alpha.putalpha(Image.linear_gradient("L").resize(base.size))

    data = saved(base, "WEBP", quality=85, exif=exif(6))
    good("lossy-turned.webp", data, decoded(data).transpose(UPRIGHT[6]), turned=True, tolerance=32)
    data = saved(alpha, "WEBP", quality=85)
    good("lossy-alpha.webp", data, decoded(data), alpha=True, tolerance=32)
    good("lossless.webp", saved(base, "WEBP", lossless=True), base)
    good("lossless-alpha.webp", saved(alpha, "WEBP", lossless=True, exact=True), alpha, alpha=True)
    second = base.transpose(UPRIGHT[3])
    data = saved(base, "WEBP", save_all=True, append_images=[second, base], duration=100, lossless=True)
    good("animated.webp", data, base, frames=3)

    still = base.quantize(128)
    data = saved(still, "GIF")
    good("still.gif", data, decoded(data).convert("RGB"), tolerance=32)
    data = saved(still, "GIF", interlace=True, transparency=3)
    good("transparent.gif", data, decoded(data).convert("RGBA"), alpha=True, tolerance=26)
    turned = [still, second.quantize(128), still.transpose(UPRIGHT[2])]
    data = saved(turned[0], "GIF", save_all=True, append_images=turned[1:], duration=80, loop=0)
    good("animated.gif", data, decoded(data).convert("RGB"), frames=3, tolerance=32)

    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        data = saved(base, "TIFF", compression=compression)
        good(f"{compression.replace('_', '-')}.tif", data, decoded(data).convert("RGB"))
    data = saved(alpha, "TIFF", compression="tiff_lzw")
    good("alpha.tif", data, alpha, alpha=True)
    data = saved(alpha.convert("LA"), "TIFF", compression="tiff_lzw")
    good("grey-alpha.tif", data, decoded(data), alpha=True)
    data = saved(base.convert("1", dither=Image.Dither.NONE), "TIFF", compression="group4")
    good("fax.tif", data, decoded(data).convert("RGB"), tolerance=28)
    data = saved(base.quantize(64), "TIFF", compression="tiff_lzw")
    good("palette.tif", data, decoded(data).convert("RGB"))
    data = saved(base.convert("CMYK"), "TIFF", compression="tiff_lzw")
    good("cmyk.tif", data, base, tolerance=30)
    data = saved(base, "TIFF", compression="tiff_lzw", tiffinfo={0x0112: 5})
    good("turned.tif", data, base.transpose(UPRIGHT[5]), turned=True)
    grey = Image.fromarray(np.asarray(base.convert("L")).astype(np.uint16) * 257)
    good("grey-16.tif", saved(grey, "TIFF", compression="tiff_lzw"), base.convert("L"))

    good("rgb.bmp", saved(scene(90, 61), "BMP"), scene(90, 61))
    good("palette.bmp", saved(still.resize((90, 61)), "BMP"), still.resize((90, 61)).convert("RGB"))
    good("bilevel.bmp", saved(base.convert("1"), "BMP"), base.convert("1").convert("RGB"), tolerance=28)
    good("alpha.bmp", bmp_fields(scene(60, 41), True), with_alpha(scene(60, 41)), alpha=True, tolerance=30)
    good("fields-565.bmp", bmp_fields(scene(60, 41), False), scene(60, 41), tolerance=28)
    good("runs.bmp", *bmp_runs())

    try:
        import pillow_heif
    except ImportError:
        return
    pillow_heif.register_heif_opener()
    good("plain.heic", saved(base, "HEIF", quality=60), None, size=base.size)
    good("plain.avif", saved(base, "AVIF", quality=60), None, size=base.size)
    good("alpha.avif", saved(alpha, "AVIF", quality=60), None, size=base.size, alpha=True)
    tall = (base.size[1], base.size[0])
    good("turned.avif", saved(base, "AVIF", quality=60, exif=exif(6)), None, size=tall, turned=True)


def with_alpha(picture: Image.Image) -> Image.Image:
    picture = picture.convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    return picture


def bmp_fields(picture: Image.Image, alpha: bool) -> bytes:
    """Version 4 with masks: 32 bits with alpha, or 16 bits as 5-6-5, top row first."""
    width, height = picture.size
    if alpha:
        pixels = np.asarray(with_alpha(picture))
        body, bits, masks = pixels.tobytes(), 32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)
    else:
        rgb = np.asarray(picture).astype(np.uint16)
        body = ((rgb[..., 0] >> 3) << 11 | (rgb[..., 1] >> 2) << 5 | rgb[..., 2] >> 3).astype("<u2").tobytes()
        bits, masks = 16, (0xF800, 0x7E0, 0x1F, 0)
    header = struct.pack("<IiiHHIIiiII", 108, width, -height, 1, bits, 3, len(body), 0, 0, 0, 0)
    header += struct.pack("<4I", *masks).ljust(68, b"\0")
    return b"BM" + struct.pack("<IHHI", 122 + len(body), 0, 0, 122) + header + body


def bmp_runs() -> tuple[bytes, Image.Image]:
    """Run lengths with literals, an end of line and a jump."""
    picture = Image.new("RGB", (40, 4), (0, 0, 0))
    colours = [(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)]
    body = bytes([20, 1, 20, 2, 0, 0])  # the lowest row: red, green
    body += bytes([0, 5, 3, 1, 3, 1, 3, 0, 35, 2, 0, 0])  # five literals and their padding
    body += bytes([0, 2, 10, 1, 30, 3, 0, 1])  # a jump over a row
    for x in range(40):
        picture.putpixel((x, 3), colours[1 if x < 20 else 2])
        picture.putpixel((x, 2), colours[(3 if x % 2 == 0 else 1) if x < 5 else 2])
        if x >= 10:
            picture.putpixel((x, 0), colours[3])
    palette = b"".join(bytes([b, g, r, 0]) for r, g, b in colours)
    header = struct.pack("<IiiHHIIiiII", 40, 40, 4, 1, 8, 1, len(body), 0, 0, 4, 0)
    offset = 14 + 40 + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + header + palette + body, picture


def hostile() -> None:
    """Each with the code of the error that it must end in."""
    codes = {}

    def bad(name: str, code: str, data: bytes) -> None:
        (ROOT / "hostile" / name).write_bytes(data)
        codes[name] = code

    # 89 bytes that ask for a screen of 65,535 x 65,535.
    gif = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    gif += b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x02\x02\x44\x01\0;"
    bad("screen-bomb.gif", "limit_exceeded", gif)
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    gif = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + frame * 1001 + b";"
    bad("frames-bomb.gif", "limit_exceeded", gif)
    bad("truncated.gif", "malformed_file", saved(scene(90, 60).quantize(32), "GIF")[:900])

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    bad("size-bomb.png", "limit_exceeded", b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""))
    small = np.zeros((2, 2, 3), np.uint8)
    zeros = zlib.compress(bytes(64 << 20), 9)
    bad("profile-bomb.png", "limit_exceeded", raw_png(small, 8, 2, extra=chunk(b"iCCP", b"x\0\0" + zeros)))
    bad("truncated.png", "malformed_file", saved(scene(90, 60), "PNG")[:2000])
    data = bytearray(saved(scene(90, 60), "PNG"))
    data[len(data) // 2] ^= 0x55
    bad("corrupt.png", "malformed_file", bytes(data))
    bad("zero-width.png", "malformed_file", b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 5, 8, 2, 0, 0, 0)) + chunk(b"IEND", b""))

    # Many scans that each touch every block of a large picture, in a few bytes each.
    data = saved(Image.new("L", (6400, 6400), 90), "JPEG", quality=50, progressive=True)
    start = data.rindex(b"\xff\xda")
    end = data.rindex(b"\xff\xd9")
    bad("scan-bomb.jpg", "limit_exceeded", data[:start] + data[start:end] * 60 + b"\xff\xd9")
    data = saved(scene(317, 203), "JPEG", quality=90)
    bad("truncated.jpg", "malformed_file", data[: len(data) // 2])
    bad("header-only.jpg", "malformed_file", data[:30])
    progressive = saved(scene(317, 203), "JPEG", quality=90, progressive=True)
    bad("truncated-progressive.jpg", "malformed_file", progressive[: len(progressive) // 3])
    sof = data.index(b"\xff\xc0")
    huge = bytearray(data)
    huge[sof + 5 : sof + 9] = struct.pack(">HH", 65500, 65500)
    bad("size-bomb.jpg", "limit_exceeded", bytes(huge))
    empty = bytearray(data)
    empty[sof + 5 : sof + 9] = struct.pack(">HH", 0, 0)
    bad("zero-size.jpg", "malformed_file", bytes(empty))
    arithmetic = bytearray(data)
    arithmetic[sof + 1] = 0xC9
    bad("arithmetic.jpg", "unsupported_format", bytes(arithmetic))
    part = b"\xff\xe2" + struct.pack(">H", 16 + 1) + b"ICC_PROFILE\0\x01\xff" + b"\0"
    bad("profile-parts.jpg", "malformed_file", data[:2] + part * 300 + data[2:200])

    webp = saved(scene(90, 60), "WEBP", quality=80)
    bad("truncated.webp", "malformed_file", webp[: len(webp) // 2])
    # Their first frames are whole.
    frames = [scene(60, 40), scene(60, 40).transpose(UPRIGHT[3]), scene(60, 40).transpose(UPRIGHT[4])]
    animated = saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    bad("truncated-animation.webp", "malformed_file", animated[: len(animated) * 2 // 3])
    animated = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    bad("truncated-animation.gif", "malformed_file", animated[: len(animated) * 3 // 4])
    canvas = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + b"\xff\xff\xff" * 2
    bad("canvas-bomb.webp", "limit_exceeded", b"RIFF" + struct.pack("<I", 4 + len(canvas) + len(webp) - 12) + b"WEBP" + canvas + webp[12:])

    tiff = saved(Image.new("L", (8, 8)), "TIFF")
    bad("truncated.tif", "malformed_file", tiff[:20])
    tags = [(256, 4, 1, 60000), (257, 4, 1, 60000), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, 60000), (279, 4, 1, 8)]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    bad("size-bomb.tif", "limit_exceeded", b"II*\0\x10\0\0\0" + bytes(8) + directory)

    bmp = saved(scene(60, 40), "BMP")
    bad("truncated.bmp", "malformed_file", bmp[:2000])
    huge = bytearray(bmp)
    huge[18:26] = struct.pack("<ii", 40_000, -(2**31))
    bad("size-bomb.bmp", "limit_exceeded", bytes(huge))

    ftyp = struct.pack(">I", 24) + b"ftypavif\0\0\0\0avifmif1"
    bad("boxless.avif", "malformed_file", ftyp + struct.pack(">I", 8) + b"free")
    bad("not-a-picture.jpg", "unsupported_format", b"#!/bin/sh\necho this is no picture\n")
    bad("empty.png", "unsupported_format", b"")
    (ROOT / "hostile.json").write_text(json.dumps(codes, indent=1, sort_keys=True) + "\n")


def main() -> None:
    for folder in ("good", "hostile", "expected"):
        (ROOT / folder).mkdir(parents=True, exist_ok=True)
        for old in (ROOT / folder).iterdir():
            old.unlink()
    jpegs()
    pngs()
    others()
    hostile()
    (ROOT / "facts.json").write_text(json.dumps(FACTS, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
