#!/usr/bin/env python3
"""Makes tests/corpus/documents: small PDFs and office containers, and beside them expected.json.

For PDFs expected.json has what pdfinfo says (apt install poppler-utils qpdf); for office documents, what they were made
as. Nothing but the standard library is used: the PDFs are written out object by object, so that each has just the
trait it is named after.
"""

import io
import json
import pathlib
import re
import shutil
import struct
import subprocess
import tempfile
import zipfile
import zlib

HERE = pathlib.Path(__file__).resolve().parent / "documents"

FONT = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
# A red corner at the bottom left, a blue one at the top right of a page of 200 by 100 points.
CORNERS = "1 0 0 rg 0 0 20 20 re f 0 0 1 rg 180 80 20 20 re f"


class Pdf:
    def __init__(self, version="1.4"):
        self.version, self.objects, self.info = version, {}, None

    def put(self, number, body, data=None):
        if data is not None:
            data = data.encode() if isinstance(data, str) else data
            body = f"{body[:-2]} /Length {len(data)} >>"
            self.objects[number] = body.encode("latin-1") + b"\nstream\n" + data + b"\nendstream"
        else:
            self.objects[number] = body.encode("latin-1") if isinstance(body, str) else body

    def bytes(self, xref=True):
        out = io.BytesIO()
        out.write(f"%PDF-{self.version}\n%\xe2\xe3\xcf\xd3\n".encode("latin-1"))
        offsets = {}
        for number, body in sorted(self.objects.items()):
            offsets[number] = out.tell()
            out.write(b"%d 0 obj\n" % number + body + b"\nendobj\n")
        start = out.tell()
        size = max(self.objects) + 1
        info = f" /Info {self.info} 0 R" if self.info else ""
        trailer = f"trailer\n<< /Size {size} /Root 1 0 R{info} /ID [<{'0' * 31}1> <{'0' * 31}2>] >>\n"
        if xref:
            out.write(b"xref\n0 %d\n0000000000 65535 f \n" % size)
            for number in range(1, size):
                out.write(b"%010d 00000 n \n" % offsets[number] if number in offsets else b"0000000000 00000 f \n")
        out.write(trailer.encode() + b"startxref\n%d\n%%%%EOF\n" % start)
        return out.getvalue()


def pages(count=1, content=CORNERS, page="/MediaBox [0 0 200 100]", tree="", info=None, version="1.4"):
    """A document whose pages all have the same content."""
    pdf = Pdf(version)
    pdf.put(1, "<< /Type /Catalog /Pages 2 0 R >>")
    kids = " ".join(f"{number} 0 R" for number in range(10, 10 + count))
    pdf.put(2, f"<< /Type /Pages /Kids [{kids}] /Count {count} {tree} >>")
    pdf.put(3, FONT)
    pdf.put(4, "<< >>", content)
    for number in range(10, 10 + count):
        pdf.put(number, f"<< /Type /Page /Parent 2 0 R /Contents 4 0 R /Resources << /Font << /F 3 0 R >> >> {page} >>")
    if info:
        pdf.put(5, info)
        pdf.info = 5
    return pdf


TEXT = "BT /F 12 Tf 20 60 Td (Three pages of text) Tj ET"


def picture():
    pdf = pages(content="q 200 0 0 100 0 0 cm /I Do Q", page="/MediaBox [0 0 200 100]")
    rows = b"".join(bytes((x * 4, y * 5, 128)) for y in range(50) for x in range(60))
    pdf.put(6, "<< /Type /XObject /Subtype /Image /Width 60 /Height 50 /ColorSpace /DeviceRGB /BitsPerComponent 8 /Filter /FlateDecode >>", zlib.compress(rows))
    pdf.put(10, "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 100] /Contents 4 0 R /Resources << /XObject << /I 6 0 R >> >> >>")
    return pdf


def tree(width, depth):
    """A page tree of that many kids on each level."""
    pdf = Pdf("1.5")
    pdf.put(1, "<< /Type /Catalog /Pages 2 0 R >>")
    counter = [2]

    def node(number, parent, level):
        up = f"/Parent {parent} 0 R" if parent else "/MediaBox [0 0 300 400]"
        if level == depth:
            pdf.put(number, f"<< /Type /Page {up} /Resources << >> >>")
            return
        kids = []
        for _ in range(width):
            counter[0] += 1
            kids.append(counter[0])
        pdf.put(number, f"<< /Type /Pages {up} /Count {width ** (depth - level)} /Kids [{' '.join(f'{k} 0 R' for k in kids)}] >>")
        for kid in kids:
            node(kid, number, level + 1)

    node(2, None, 0)
    return pdf


def make_pdfs(at):
    plain = pages(3, TEXT, info="<< /Title (A plain title) /Author (Somebody) >>")
    files = {
        "plain.pdf": plain.bytes(),
        "upright.pdf": pages().bytes(),
        "rotated_90.pdf": pages(page="/MediaBox [0 0 200 100] /Rotate 90").bytes(),
        "rotated_180.pdf": pages(page="/MediaBox [0 0 200 100] /Rotate 180").bytes(),
        "rotated_270.pdf": pages(page="/MediaBox [0 0 200 100] /Rotate -90").bytes(),
        "cropped.pdf": pages(page="/MediaBox [0 0 200 100] /CropBox [0 0 100 50]").bytes(),
        "offset.pdf": pages(content="1 0 0 rg 300 -50 20 20 re f", page="/MediaBox [300 -50 500 50]").bytes(),
        "inherited.pdf": pages(2, page="", tree="/MediaBox [0 0 200 100] /Rotate 90").bytes(),
        "reversed_box.pdf": pages(page="/MediaBox [200 100 0 0]").bytes(),
        "huge_page.pdf": pages(page="/MediaBox [0 0 14400 14400]").bytes(),
        "zero_page.pdf": pages(page="/MediaBox [0 0 0 0]").bytes(),
        "unicode_title.pdf": pages(info="<< /Title <FEFF041F0440043804320435044200200030FE0F> /Author (Jos\\351) >>").bytes(),
        "image.pdf": picture().bytes(),
        "tree.pdf": tree(5, 4).bytes(),
        "no_xref.pdf": plain.bytes(xref=False).replace(b"startxref", b"startxxxx"),
        "wrong_offsets.pdf": plain.bytes().replace(b"%\xe2\xe3\xcf\xd3\n", b""),
        "leading_bytes.pdf": b"junk before\n" + plain.bytes(),
        "no_end.pdf": plain.bytes()[:-12],
    }
    for name, data in files.items():
        (at / name).write_bytes(data)
    source = str(at / "plain.pdf")
    big = str(at / "tree.pdf")

    def qpdf(*arguments):
        subprocess.run(["qpdf", "--deterministic-id", *arguments], check=True)

    def encrypt(name, user, *rest):
        command = ["qpdf", "--static-id", "--static-aes-iv", "--allow-weak-crypto", "--encrypt", user, "owner", *rest, "--", source, str(at / name)]
        subprocess.run(command, check=True)

    qpdf("--object-streams=generate", big, str(at / "object_streams.pdf"))
    qpdf("--linearize", "--object-streams=generate", source, str(at / "linearized.pdf"))
    encrypt("encrypted_rc4_40.pdf", "", "40")
    encrypt("encrypted_rc4_128.pdf", "", "128", "--use-aes=n")
    encrypt("encrypted_aes_128.pdf", "", "128", "--use-aes=y")
    encrypt("encrypted_aes_256.pdf", "", "256")
    encrypt("locked_rc4_128.pdf", "secret", "128", "--use-aes=n")
    encrypt("locked_aes_256.pdf", "secret", "256")


def pdfinfo(path):
    said = subprocess.run(["pdfinfo", "-enc", "UTF-8", str(path)], capture_output=True, text=True)
    if "Incorrect password" in said.stderr:
        return {"error": "encrypted_file"}
    fields = dict(re.findall(r"^([^:\n]+):[ \t]*(.*)$", said.stdout, re.M))
    width, height = map(float, re.match(r"([\d.]+) x ([\d.]+)", fields["Page size"]).groups())
    if int(fields.get("Page rot", 0)) in (90, 270):
        width, height = height, width
    return {
        "page_count": int(fields["Pages"]),
        "encrypted": fields["Encrypted"].startswith("yes"),
        "title": fields.get("Title") or None,
        "author": fields.get("Author") or None,
        "page_width": width,
        "page_height": height,
    }


# ---- office documents ----

O = "application/vnd.openxmlformats-officedocument."
OOXML = {
    "letter.docx": (O + "wordprocessingml.document.main+xml", O + "wordprocessingml.document"),
    "letter.dotx": (O + "wordprocessingml.template.main+xml", O + "wordprocessingml.template"),
    "letter.docm": ("application/vnd.ms-word.document.macroEnabled.main+xml", "application/vnd.ms-word.document.macroEnabled.12"),
    "table.xlsx": (O + "spreadsheetml.sheet.main+xml", O + "spreadsheetml.sheet"),
    "table.xlsm": ("application/vnd.ms-excel.sheet.macroEnabled.main+xml", "application/vnd.ms-excel.sheet.macroEnabled.12"),
    "table.xlsb": ("application/vnd.ms-excel.sheet.binary.macroEnabled.main", "application/vnd.ms-excel.sheet.binary.macroEnabled.12"),
    "slides.pptx": (O + "presentationml.presentation.main+xml", O + "presentationml.presentation"),
    "slides.ppsx": (O + "presentationml.slideshow.main+xml", O + "presentationml.slideshow"),
    "slides.pptm": ("application/vnd.ms-powerpoint.presentation.macroEnabled.main+xml", "application/vnd.ms-powerpoint.presentation.macroEnabled.12"),
}
ODF = {
    "letter.odt": "application/vnd.oasis.opendocument.text",
    "table.ods": "application/vnd.oasis.opendocument.spreadsheet",
    "slides.odp": "application/vnd.oasis.opendocument.presentation",
}


def archive(entries):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, content, stored in entries:
            info = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            file.writestr(info, content)
    return out.getvalue()


def ooxml(main, project=False):
    types = f"""<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/main.xml" ContentType="{main}"/></Types>"""
    entries = [("[Content_Types].xml", types, False), ("_rels/.rels", "<Relationships/>", False), ("main.xml", "<main/>", False)]
    if project:
        entries.append(("word/vbaProject.bin", b"\xd0\xcf", False))
    return archive(entries)


def odf(kind, encrypted=False, basic=False):
    inner = '<manifest:encryption-data manifest:checksum="x"/>' if encrypted else ""
    manifest = f'<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"><manifest:file-entry>{inner}</manifest:file-entry></manifest:manifest>'
    entries = [("mimetype", kind, True), ("content.xml", "<x/>", False), ("META-INF/manifest.xml", manifest, False)]
    if basic:
        entries.append(("Basic/Standard/Module1.xml", "<x/>", False))
    return archive(entries)


def compound(streams):
    """A compound file ([MS-CFB]) with these streams under its root, each of at least 4096 bytes."""
    entries = [("Root Entry", 5, None)] + [(name, 2, data) for name, data in streams.items()]
    directory_sectors = (len(entries) + 3) // 4
    sectors, table = [], []

    def chain(count):
        first = len(table)
        table.extend(range(first + 1, first + count))
        table.append(0xFFFFFFFE)
        return first

    table.append(0xFFFFFFFD)
    sectors.append(None)
    directory = chain(directory_sectors)
    sectors.extend([b""] * directory_sectors)
    rows = []
    for index, (name, kind, data) in enumerate(entries):
        start, size = 0, 0
        if data is not None:
            data = data.ljust(4096, b"\0")
            count = (len(data) + 511) // 512
            start, size = chain(count), len(data)
            sectors.extend(data[i * 512 : i * 512 + 512].ljust(512, b"\0") for i in range(count))
        encoded = name.encode("utf-16-le")
        right = index + 1 if 0 < index < len(entries) - 1 else 0xFFFFFFFF
        child = 1 if index == 0 and len(entries) > 1 else 0xFFFFFFFF
        rows.append(
            encoded.ljust(64, b"\0") + struct.pack("<HBB", len(encoded) + 2, kind, 1)
            + struct.pack("<III", 0xFFFFFFFF, right, child) + b"\0" * 36 + struct.pack("<IQ", start, size)
        )
    packed = b"".join(rows).ljust(directory_sectors * 512, b"\0")
    for index in range(directory_sectors):
        sectors[directory + index] = packed[index * 512 : index * 512 + 512]
    assert len(table) <= 128
    sectors[0] = struct.pack("<128I", *(table + [0xFFFFFFFF] * (128 - len(table))))
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 16 + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + b"\0" * 6
    header += struct.pack("<IIIIIIIII", 0, 1, directory, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0)
    header += struct.pack("<109I", 0, *[0xFFFFFFFF] * 108)
    assert len(header) == 512
    return header + b"".join(sectors)


def make_office(at):
    facts = {}

    def put(name, data, media_type, encrypted=False, macros=False):
        (at / name).write_bytes(data)
        facts[name] = {"media_type": media_type, "encrypted": encrypted, "macros": macros}

    for name, (main, media_type) in OOXML.items():
        put(name, ooxml(main), media_type, macros="macroEnabled" in main)
    disguised = ooxml(OOXML["letter.docx"][0], project=True)
    put("disguised_macros.docx", disguised, OOXML["letter.docm"][1], macros=True)
    for name, media_type in ODF.items():
        put(name, odf(media_type), media_type)
    put("encrypted.odt", odf(ODF["letter.odt"], encrypted=True), ODF["letter.odt"], encrypted=True)
    put("basic.ods", odf(ODF["table.ods"], basic=True), ODF["table.ods"], macros=True)
    word = struct.pack("<HHHHHH", 0xA5EC, 193, 0, 1033, 0, 0x0200)
    locked = struct.pack("<HHHHHH", 0xA5EC, 193, 0, 1033, 0, 0x0300)
    book = struct.pack("<HHHHHHHH", 0x809, 8, 0x600, 5, 0, 0, 0x42, 2) + b"\0" * 64
    pass_book = struct.pack("<HHHHHHH", 0x809, 8, 0x600, 5, 0, 0, 0x2F) + b"\x06\0" + b"\0" * 64
    put("letter.doc", compound({"WordDocument": word, "1Table": b""}), "application/msword")
    put("locked.doc", compound({"WordDocument": locked, "1Table": b""}), "application/msword", encrypted=True)
    put("macros.doc", compound({"WordDocument": word, "Macros": b""}), "application/msword", macros=True)
    put("table.xls", compound({"Workbook": book}), "application/vnd.ms-excel")
    put("locked.xls", compound({"Workbook": pass_book}), "application/vnd.ms-excel", encrypted=True)
    put("slides.ppt", compound({"Current User": b"", "PowerPoint Document": b""}), "application/vnd.ms-powerpoint")
    encrypted = compound({"EncryptionInfo": b"", "EncryptedPackage": b""})
    put("encrypted.docx", encrypted, "application/x-ole-storage", encrypted=True)
    return facts


def main():
    for tool in ("pdfinfo", "qpdf"):
        if not shutil.which(tool):
            raise SystemExit(f"{tool} is missing: apt install poppler-utils qpdf")
    with tempfile.TemporaryDirectory() as directory:
        at = pathlib.Path(directory)
        make_pdfs(at)
        pdfs = {path.name: pdfinfo(path) for path in sorted(at.glob("*.pdf"))}
        # Readers differ on a page without a size; ours takes A4.
        pdfs["zero_page.pdf"].update(page_width=595.276, page_height=841.89)
        office = make_office(at)
        HERE.mkdir(parents=True, exist_ok=True)
        for path in sorted(at.iterdir()):
            shutil.copy(path, HERE / path.name)
        text = json.dumps({"pdf": pdfs, "office": office}, indent=1, sort_keys=True)
        (HERE / "expected.json").write_text(text + "\n")
        print(f"{len(pdfs) + len(office)} files, {sum(p.stat().st_size for p in HERE.iterdir())} bytes in {HERE}")


if __name__ == "__main__":
    main()
