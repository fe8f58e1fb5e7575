"""python pillow.py INPUT OUTPUT REPEAT"""

import sys

from PIL import Image, ImageOps

for _ in range(int(sys.argv[3])):
    with Image.open(sys.argv[1]) as picture:
        # For a JPEG this decodes at a fraction of the size (draft).
        picture.thumbnail((512, 512), Image.Resampling.LANCZOS)
        ImageOps.exif_transpose(picture).convert("RGB").save(sys.argv[2], quality=80)
