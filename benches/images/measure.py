"""Runs each program on each picture, in turns, and prints a table.

CPU time of a thumbnail is that of a process that makes eleven of them less that of one that makes one, divided by ten:
without the start of the process. Memory is the peak of the process that makes one. Medians of five rounds. One thread
each.
"""

import os
import statistics
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
MORE = 10
ROUNDS = 5


def cloakroom(picture: str, output: str, count: int) -> list[str]:
    return [os.environ["THUMBNAIL"], picture, output, "512", str(count)]


def sharp(picture: str, output: str, count: int) -> list[str]:
    return ["node", str(HERE / "sharp.js"), picture, output, str(count)]


def vipsthumbnail(picture: str, output: str, count: int) -> list[str]:
    # Of a name that it has seen it remembers the picture.
    names = [f"{output}.{number}{Path(picture).suffix}" for number in range(count)]
    for name in names:
        if not os.path.lexists(name):
            os.symlink(picture, name)
    return ["vipsthumbnail", "--size", "512x512>", "-o", f"{output}[Q=80,strip]", *names]


def pillow(picture: str, output: str, count: int) -> list[str]:
    return [sys.executable, str(HERE / "pillow.py"), picture, output, str(count)]


PROGRAMS = [cloakroom, sharp, vipsthumbnail, pillow]


def run(command: list[str]) -> tuple[float, float]:
    """CPU seconds and peak memory in MiB."""
    quiet = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
    environment = {**os.environ, "VIPS_CONCURRENCY": "1"}
    process = os.posix_spawnp(command[0], command, environment, file_actions=quiet)
    _, status, usage = os.wait4(process, 0)
    if status:
        sys.exit(f"{command} failed: {status}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    pictures = sorted(path for path in Path(sys.argv[1]).iterdir() if path.suffix in {".jpg", ".png", ".webp"})
    print("| 512 px JPEG of | " + " | ".join(f"{p.__name__} ms (MiB)" for p in PROGRAMS) + " | ÷ sharp | ÷ vips | ÷ Pillow | memory ÷ sharp |")
    print("| --- |" + " --: |" * (len(PROGRAMS) + 4))
    with tempfile.TemporaryDirectory() as folder:
        output = f"{folder}/out.jpg"
        for picture in pictures:
            for link in Path(folder).iterdir():
                link.unlink()
            figures = {program: ([], []) for program in PROGRAMS}
            for _ in range(ROUNDS):
                for program in PROGRAMS:
                    one, memory = run(program(str(picture), output, 1))
                    many, _ = run(program(str(picture), output, 1 + MORE))
                    figures[program][0].append((many - one) / MORE * 1000)
                    figures[program][1].append(memory)
            middle = {p: [statistics.median(values) for values in figures[p]] for p in PROGRAMS}
            ours = middle[cloakroom]
            cells = [f"{middle[p][0]:.1f} ({middle[p][1]:.0f})" for p in PROGRAMS]
            cells += [f"{ours[0] / middle[p][0]:.2f}" for p in PROGRAMS[1:]]
            cells.append(f"{ours[1] / middle[sharp][1]:.2f}")
            print(f"| {picture.name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
