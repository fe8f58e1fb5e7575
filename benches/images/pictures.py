"""Makes the pictures that are measured: photographs with the entropy of real ones, and a screenshot."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter


def photograph(width: int, height: int, seed: int) -> Image.Image:
    """Gradients, shapes with edges, texture at several scales and the noise of a sensor."""
    random = np.random.default_rng(seed)
    x = np.linspace(0, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    planes = [90 + 110 * x * y, 70 + 120 * (1 - y) + 0 * x, 150 - 60 * x + 40 * y]
    for scale, strength in ((4, 14), (16, 22), (64, 30)):
        size = (width // scale + 1, height // scale + 1)
        grain = random.normal(0, strength, (size[1], size[0])).astype(np.float32)
        grain = Image.fromarray(grain).resize((width, height), Image.Resampling.BICUBIC)
        # Busy and calm areas, as in a photograph.
        mask = 0.15 + 0.85 * np.clip(np.sin(7 * x + 3 * seed) * np.cos(5 * y), 0, 1)
        for index, plane in enumerate(planes):
            planes[index] = plane + np.asarray(grain) * mask * (1 - 0.2 * index)
    picture = Image.fromarray(np.clip(np.dstack(planes), 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(160):
        left, top = int(random.integers(0, width)), int(random.integers(0, height))
        across, down = (int(random.integers(width // 200, width // 12)) for _ in range(2))
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        shape = draw.ellipse if random.random() < 0.5 else draw.rectangle
        shape((left, top, left + across, top + down), fill=colour)
    picture = picture.filter(ImageFilter.GaussianBlur(1))
    noise = random.normal(0, 5, (height, width, 1)).astype(np.float32)
    noisy = np.asarray(picture, dtype=np.float32) + noise
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def screenshot(width: int, height: int) -> Image.Image:
    """Windows, lines of text, a picture in one of them."""
    random = np.random.default_rng(3)
    picture = Image.new("RGB", (width, height), (236, 238, 242))
    draw = ImageDraw.Draw(picture)
    for column in range(4):
        left = column * width // 4 + 12
        draw.rectangle((left, 12, left + width // 4 - 24, height - 12), fill=(255, 255, 255), outline=(180, 184, 190))
        draw.rectangle((left, 12, left + width // 4 - 24, 52), fill=(52, 96, 170))
        for line in range((height - 120) // 20):
            words = " ".join("".join(chr(97 + int(c)) for c in random.integers(0, 26, random.integers(2, 10))) for _ in range(18))
            draw.text((left + 14, 70 + line * 20), words[: width // 40], fill=(30, 34, 40))
    picture.paste(photograph(width // 5, height // 3, 5), (width // 2 + 60, height // 2))
    return picture


def make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    small, large = photograph(4000, 3000, 1), photograph(7744, 5184, 2)
    small.save(folder / "photo-12mp.jpg", quality=88)
    small.save(folder / "photo-12mp-progressive.jpg", quality=88, progressive=True)
    small.save(folder / "photo-12mp.webp", quality=80, method=2)
    large.save(folder / "photo-40mp.jpg", quality=88)
    large.save(folder / "photo-40mp-progressive.jpg", quality=88, progressive=True)
    screenshot(4096, 2880).save(folder / "screenshot-12mp.png")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
