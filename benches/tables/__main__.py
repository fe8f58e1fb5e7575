"""Rows per second, CPU and memory of tables: ours beside what else counts them. Prints a table in Markdown.

    python3 benches/tables [--size-mb 1000] [--rows 500000]

Needs openpyxl and XlsxWriter (tests/corpus/make_tables.py names the versions) in the Python that runs it. The programs
are built from crates/tables/examples: `inspect` is ours, `csv_count` the csv crate's own way to count. All read the
same files from the page cache, one after another, three times; the least CPU counts. python-calamine is calamine's
reader of whole sheets; it is left out where it is not installed.
"""

import argparse
import os
import pathlib
import random
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
PYTHON_CSV = "import csv,sys; print(sum(1 for _ in csv.reader(open(sys.argv[1], newline=''))))"
OPENPYXL = ("import openpyxl,sys; book=openpyxl.load_workbook(sys.argv[1], read_only=True);"
            "print(sum(1 for _ in book.active.iter_rows(values_only=True)))")
CALAMINE = ("import python_calamine,sys; book=python_calamine.CalamineWorkbook.from_path(sys.argv[1]);"
            "print(book.get_sheet_by_index(0).total_height)")


def write_csv(path, size):
    """Rows of about 96 bytes, one in seven with a line end in quotes."""
    numbers = random.Random(5)
    rows = []
    for number in range(20_000):
        note = f'"first line\nsecond line, with ""quotes"" {number}"' if number % 7 == 0 else f"plain text {number}"
        rows.append(f"{numbers.randrange(10**9)},customer {numbers.randrange(10**6)},{note},"
                    f"{numbers.random() * 1e5:.2f},2026-{number % 12 + 1:02}-{number % 28 + 1:02},waiting for review,"
                    f"{numbers.randrange(10**6)}\n")
    block = "".join(rows).encode()
    with open(path, "wb") as file:
        file.write(b"id,name,note,amount,day,state,code\n")
        for _ in range(size // len(block) + 1):
            file.write(block)


def write_xlsx(path, rows):
    import xlsxwriter
    numbers = random.Random(7)
    book = xlsxwriter.Workbook(str(path))
    sheet = book.add_worksheet("Data")
    sheet.write_row(0, 0, ["id", "name", "amount", "day", "state", "note"])
    for row in range(1, rows + 1):
        sheet.write_row(row, 0, [row, f"name {row % 5000}", round(numbers.random() * 1e5, 2), 45000 + row % 365,
                                 numbers.choice(["active", "closed"]), f"note number {row}"])
    book.close()


def measure(command, times):
    """The least CPU seconds and the peak MiB of some runs, and what was printed."""
    best = None
    for _ in range(times):
        # A child begins with its parent's peak: a shell between them keeps the figure its own.
        run = subprocess.run(["/usr/bin/time", "-f", "%M", *command], capture_output=True, text=True, check=True)
        with open(os.devnull, "w") as nothing:
            child = subprocess.Popen(command, stdout=nothing)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = status
        cpu = usage.ru_utime + usage.ru_stime
        if best is None or cpu < best[0]:
            best = (cpu, int(run.stderr.split()[-1]) / 1024, run.stdout.strip())
    return best


def table(title, rows, runs):
    print(f"\n| {title} | CPU s | ÷ ours | million rows/s | peak MiB |\n| --- | --: | --: | --: | --: |")
    results = [(name, measure(command, times)) for name, command, times in runs]
    ours = next(result for name, result in results if name.startswith("**"))[0]
    for name, (cpu, peak, _) in results:
        print(f"| {name} | {cpu:.3f} | {cpu / ours:.2f} | {rows / cpu / 1e6:.2f} | {peak:.1f} |", flush=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--size-mb", type=int, default=1000)
    arguments.add_argument("--rows", type=int, default=500_000)
    asked = arguments.parse_args()
    target = os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))
    subprocess.run(["cargo", "build", "--release", "--quiet", "--package", "cloakroom-tables", "--examples"],
                   cwd=ROOT, check=True)
    ours = f"{target}/release/examples/inspect"
    csv_count = f"{target}/release/examples/csv_count"
    with tempfile.TemporaryDirectory() as folder:
        text, book = pathlib.Path(folder, "big.csv"), pathlib.Path(folder, "big.xlsx")
        write_csv(text, asked.size_mb * 1_000_000)
        rows = int(subprocess.run([csv_count, text], capture_output=True, text=True, check=True).stdout)
        table(f"CSV, {text.stat().st_size / 1e9:.2f} GB, {rows:,} rows", rows, [
            ("`wc -l` (counts lines, not rows)", ["wc", "-l", str(text)], 3),
            ("**Cloakroom**", [ours, str(text)], 3),
            ("csv crate", [csv_count, str(text)], 2),
            ("Python csv", [sys.executable, "-c", PYTHON_CSV, str(text)], 1),
        ])
        write_xlsx(book, asked.rows)
        runs = [("**Cloakroom**", [ours, str(book)], 3),
                ("openpyxl, read only", [sys.executable, "-c", OPENPYXL, str(book)], 1)]
        try:
            import python_calamine  # noqa: F401
            runs.insert(1, ("calamine (from Python)", [sys.executable, "-c", CALAMINE, str(book)], 2))
        except ImportError:
            pass
        table(f"XLSX, {book.stat().st_size / 1e6:.0f} MB, {asked.rows:,} rows", asked.rows, runs)


if __name__ == "__main__":
    main()
