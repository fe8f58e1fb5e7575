#!/usr/bin/env python3
"""Writes tests/corpus/tables: tables of every kind, good and hostile, each with what is expected of it beside it.

    pip install openpyxl==3.1.5 odfpy==1.4.1 xlwt==1.3.0 XlsxWriter==3.3.1 msoffcrypto-tool==6.1.0
    python3 tests/corpus/make_tables.py

`NAME.json` holds `{"facts": {..}}`, of which every field must be equal, or `{"error": code, "line": n, "says": text}`.
Expectations are written by hand, or come from the values that were written; never from Cloakroom's own answer.
"""

import io
import json
import pathlib
import shutil
import struct
import zipfile

import msoffcrypto.format.ooxml
import openpyxl
import xlsxwriter
import xlwt
from odf.opendocument import OpenDocumentSpreadsheet
from odf.table import Table, TableCell, TableRow
from odf.text import P

HERE = pathlib.Path(__file__).resolve().parent / "tables"
STAMP = (2026, 1, 1, 0, 0, 0)


def put(name, content, **expected):
    (HERE / name).write_bytes(content)
    (HERE / f"{name}.json").write_text(json.dumps(expected, ensure_ascii=False, indent=1) + "\n")


def facts(name, content, **expected):
    put(name, content, facts=expected)


def error(name, content, code, says, line=None):
    put(name, content, error=code, says=says, **({"line": line} if line else {}))


RUSSIAN = "имя;город;возраст\r\nИван;Москва;30\r\nМария;Нижний Новгород;41\r\nЁлка;\"Ростов; на Дону\";7\r\n"


def good_text():
    plain = dict(delimiter=",", encoding="utf-8", has_header=True, line_ending="lf", ragged_rows=0, blank_lines=0)
    facts("plain.csv", b"id,name\n1,a\n2,b\n", row_count=2, columns=["id", "name"], column_count=2, **plain)
    facts("no-last-line-end.csv", b"id,name\n1,a\n2,b", row_count=2, columns=["id", "name"], column_count=2, **plain)
    facts("byte-order-mark.csv", b"\xef\xbb\xbfid,name\n1,a\n", byte_order_mark=True, row_count=1,
          columns=["id", "name"], **plain)
    facts("quoted-newlines.csv", b'id,note\r\n1,"two\r\nlines, ""quoted"""\r\n2,"three\n\nlines"\r\n', row_count=2,
          columns=["id", "note"], delimiter=",", line_ending="crlf", has_header=True, blank_lines=0)
    facts("cr.csv", b"id,name\r1,a\r2,b\r", row_count=2, line_ending="cr", columns=["id", "name"])
    facts("mixed-line-ends.csv", b"id,name\n1,a\r\n2,b\r3,c\n", row_count=3, line_ending="mixed", columns=["id", "name"])
    facts("blank-lines.csv", b"\n\nid,name\n\n1,a\r\n\r\n  \n2,b\n\n", row_count=2, blank_lines=6,
          columns=["id", "name"])
    facts("semicolons.csv", "artículo;precio;año\nuno;1,50;2024\ndos;2,75;2025\n".encode(), row_count=2, delimiter=";",
          columns=["artículo", "precio", "año"], encoding="utf-8")
    facts("tabs.tsv", b"id\tname\tnote\n1\ta, b\t\n2\tc; d\t|\n", row_count=2, delimiter="\t",
          columns=["id", "name", "note"])
    facts("bars.csv", b"id|name|note\n1|a, b|x\n2|c; d|y\n", row_count=2, delimiter="|", columns=["id", "name", "note"])
    facts("delimiter-in-quotes.csv", b'"a,b,c,d";x\n"1,2,3,4";5\n"6,7,8,9";0\n', row_count=2, delimiter=";",
          columns=["a,b,c,d", "x"])
    facts("sep-line.csv", b"sep=;\r\nid;name\r\n1;a\r\n", row_count=1, delimiter=";", columns=["id", "name"])
    facts("one-column.csv", b"name\nAnn\nBob\n", row_count=2, columns=["name"], column_count=1, delimiter=",")
    facts("no-header.csv", b"1,2.5,2026-01-01\n2,3.5,2026-01-02\n3,4,2026-01-03\n", row_count=3, has_header=False,
          columns=[], column_count=3)
    facts("years-as-header.csv", b"country,2024,2025\nUS,1,2\nFR,3,4\n", row_count=2, has_header=True,
          columns=["country", "2024", "2025"])
    facts("index-column.csv", b",a,b\n0,1,2\n1,3,4\n", row_count=2, has_header=True, columns=["", "a", "b"])
    facts("header-only.csv", b"id,name\n", row_count=0, has_header=True, columns=["id", "name"])
    facts("empty.csv", b"", row_count=0, columns=[], column_count=0, has_header=False, line_ending=None)
    facts("quote-in-field.csv", b'id,size\n1,5" pipe\n2,"6"" pipe"\n3,a "b" c\n4,"x"y"z,w\n'.replace(b',w', b''),
          row_count=4, columns=["id", "size"])
    facts("dos-end.csv", b"id,name\r\n1,a\r\n\x1a", row_count=1, columns=["id", "name"])
    facts("messy-names.csv", '" first\nname ","last\tname",  ,"é"\nA,B,C,1\n'.encode(), row_count=1,
          columns=["first name", "last name", "", "é"])
    facts("wide.csv", (",".join(f"c{n}" for n in range(1500)) + "\n" + ",".join("1" * 1500) + "\n").encode(),
          row_count=1, column_count=1500, columns=[f"c{n}" for n in range(1000)])
    for encoding, name in [("utf-16-le", "utf-16le"), ("utf-16-be", "utf-16be")]:
        mark = b"\xff\xfe" if name == "utf-16le" else b"\xfe\xff"
        expected = dict(row_count=3, delimiter=";", encoding=name, line_ending="crlf",
                        columns=["имя", "город", "возраст"])
        facts(f"{name}-mark.csv", mark + RUSSIAN.encode(encoding), byte_order_mark=True, **expected)
        facts(f"{name}.csv", RUSSIAN.encode(encoding), byte_order_mark=False, **expected)
    facts("windows-1251.csv", RUSSIAN.encode("cp1251"), row_count=3, delimiter=";", encoding="windows-1251",
          columns=["имя", "город", "возраст"])
    latin = "nom,prénom,âge\nLefèvre,Éric,40\nGarçon,Zoë,51\n"
    facts("windows-1252.csv", latin.encode("cp1252"), row_count=2, encoding="windows-1252",
          columns=["nom", "prénom", "âge"])


def bad_text():
    error("ragged.csv", b'id,name\n1,"a\nb"\n2\n3,c\n', "malformed_file", "the row has 1 field, the first row has 2", 4)
    error("too-many-fields.csv", b"id,name\r\n1,a\r\n2,b,c\r\n", "malformed_file", "3 fields", 3)
    error("ragged-after-cr.csv", b"id,name\r1,a\r2,b,c\r", "malformed_file", "3 fields", 3)
    error("unclosed-quote.csv", b'id,name\n1,"a ""b"" \n2,c\n3,d\n', "malformed_file", "not closed", 2)
    error("nul.csv", b"id,name\n1,a\n2,\0b\n", "malformed_file", "NUL", 3)
    good = "имя,город\n" + "Иван,Москва\n" * 20
    error("bad-utf-8.csv", good.encode() + b"\xd0\x98\xd0,b\n", "malformed_file", "UTF-8", 22)
    error("cut-utf-8.csv", good.encode() + "Мария,Омск".encode()[:-1], "malformed_file", "UTF-8", 22)
    error("cut-utf-16.csv", b"\xff\xfe" + RUSSIAN.encode("utf-16-le")[:-1], "malformed_file", "UTF-16LE", 5)
    error("lone-surrogate.csv", b"\xff\xfe" + "id,name\n1,".encode("utf-16-le") + b"\x00\xd8,\0\n\0", "malformed_file",
          "UTF-16LE", 2)
    error("utf-32.csv", "id,name\n".encode("utf-32"), "unsupported_format", "UTF-32")
    error("image.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "malformed_file", "PNG", 1)


SHEET = """<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">%s<sheetData>%s</sheetData></worksheet>"""
HEAD = '<row r="1"><c r="A1" t="inlineStr"><is><t>id</t></is></c><c r="B1" t="inlineStr"><is><t>name</t></is></c></row>'


def row(number):
    return f'<row r="{number}"><c r="A{number}"><v>{number}</v></c><c r="B{number}" t="str"><v>x</v></c></row>'


def package(sheet, extra=(), compress=zipfile.ZIP_DEFLATED, parts=None):
    main = "http://schemas.openxmlformats.org"
    office = f"{main}/officeDocument/2006/relationships"
    content = {
        "[Content_Types].xml": f'<Types xmlns="{main}/package/2006/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{main}/package/2006/relationships"><Relationship Id="rId1" '
                       f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}/spreadsheetml/2006/main" xmlns:r="{office}"><sheets>'
                           '<sheet name="Data" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{main}/package/2006/relationships"><Relationship '
                                      f'Id="rId1" Type="{office}/worksheet" Target="worksheets/sheet1.xml"/>'
                                      "</Relationships>",
        "xl/worksheets/sheet1.xml": sheet,
    }
    content.update(parts or {})
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compress) as archive:
        for name, text in [*content.items(), *extra]:
            archive.writestr(zipfile.ZipInfo(name, STAMP), text, compress)
    return file.getvalue()


def sheet_of(**expected):
    return dict(sheets=[dict(name="Data", hidden=False, **expected)])


def good_workbooks():
    two = sheet_of(row_count=2, columns=["id", "name"], column_count=2, has_header=True)
    facts("minimal.xlsx", package(SHEET % ("", HEAD + row(2) + row(3))), **two)
    facts("prefixed.xlsx", package((SHEET % ("", HEAD + row(2) + row(3))).replace("<", "<x:").replace("<x:/", "</x:")
                                   .replace("<x:?", "<?").replace("xmlns=", "xmlns:x=")), **two)
    filler = "".join(row(number) for number in range(2, 40))
    tricky = filler + '<!-- </row></sheetData> --><row r="90"><c r="A90" t="str"><v>1</v></c><!-- </row> --></row>'
    tricky += '<row r="91"><c r="A91" t="inlineStr"><is><t><![CDATA[</row><row>]]></t></is></c></row>'
    facts("markup-in-text.xlsx", package(SHEET % ("", HEAD + tricky)),
          **sheet_of(row_count=40, columns=["id", "name"]))
    far = '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    facts("far-cell.xlsx", package(SHEET % ('<dimension ref="A1:XFD1048576"/>', HEAD + row(2) + far)),
          **sheet_of(row_count=2, columns=["id", "name"], column_count=2, dimension="A1:XFD1048576"))
    blanks = "".join(f'<row r="{n}">' + '<c s="1"/>' * 8 + "</row>" for n in range(3, 60_000))
    facts("blank-cells.xlsx", package(SHEET % ("", HEAD + row(2) + blanks)),
          **sheet_of(row_count=1, columns=["id", "name"]))
    facts("entities.xlsx", package(SHEET % ("", HEAD.replace("id", "a &amp; b &#1071;") + row(2))),
          **sheet_of(row_count=1, columns=["a & b Я", "name"]))

    book = openpyxl.Workbook()
    first = book.active
    first.title = "Sales 2026"
    first.append(["day", "city", "amount"])
    for number in range(1, 251):
        first.append([f"2026-01-{number % 28 + 1:02}", "Paris", number])
    first.row_dimensions[5].hidden = True
    first.merge_cells("A252:C252")
    second = book.create_sheet("Only numbers")
    for number in range(7):
        second.append([number, number * 2])
    book.create_sheet("Empty")
    hidden = book.create_sheet("Hidden")
    hidden["C3"] = "label"
    hidden["C4"] = 1
    hidden.sheet_state = "hidden"
    file = io.BytesIO()
    book.save(file)
    sheets = [dict(name="Sales 2026", row_count=250, columns=["day", "city", "amount"], hidden=False),
              dict(name="Only numbers", row_count=7, columns=[], column_count=2, has_header=False),
              dict(name="Empty", row_count=0, columns=[], column_count=0),
              dict(name="Hidden", row_count=1, columns=["", "", "label"], column_count=3, hidden=True)]
    facts("openpyxl.xlsx", file.getvalue(), sheets=sheets)

    file = io.BytesIO()
    book = xlsxwriter.Workbook(file)
    sheet = book.add_worksheet("Rich")
    bold = book.add_format({"bold": True})
    sheet.write_rich_string(0, 0, "the ", bold, "title", " here")
    sheet.write(0, 1, "share")
    for number in range(1, 1201):
        sheet.write(number, 0, f"text {number}")
        sheet.write_formula(number, 1, "=1+1")
    sheet.write_blank(1500, 3, None, bold)
    book.add_chartsheet("Chart")
    chart = book.add_chart({"type": "line"})
    chart.add_series({"values": "=Rich!$B$2:$B$9"})
    book.sheetnames["Chart"].set_chart(chart)
    book.close()
    facts("xlsxwriter.xlsx", file.getvalue(),
          sheets=[dict(name="Rich", row_count=1200, columns=["the title here", "share"])])

    document = OpenDocumentSpreadsheet()
    for name, rows in [("Один", [["id", "имя"], [1, "a"], [2, "b"], [3, ""]]), ("Empty", [])]:
        table = Table(name=name)
        for values in rows:
            line = TableRow()
            for value in values:
                cell = TableCell(valuetype="float", value=value) if isinstance(value, int) else \
                    TableCell(valuetype="string") if value else TableCell()
                if value:
                    cell.addElement(P(text=str(value)))
                line.addElement(cell)
            table.addElement(line)
        trailing = TableRow(numberrowsrepeated=1048000)
        trailing.addElement(TableCell(numbercolumnsrepeated=16384))
        table.addElement(trailing)
        document.spreadsheet.addElement(table)
    file = io.BytesIO()
    document.write(file)
    facts("odfpy.ods", file.getvalue(),
          sheets=[dict(name="Один", row_count=3, columns=["id", "имя"], column_count=2),
                  dict(name="Empty", row_count=0, columns=[])])

    book = xlwt.Workbook()
    sheet = book.add_sheet("Данные")
    for column, name in enumerate(["номер", "name", "amount"]):
        sheet.write(0, column, name)
    for number in range(1, 3001):
        sheet.write(number, 0, number)
        sheet.write(number, 1, f"name {number} " + "é" * (number % 50))
        sheet.write(number, 2, number / 7)
    sheet.write(5000, 1, "", xlwt.easyxf("font: bold on"))
    sheet.write(4999, 1, "last")
    other = book.add_sheet("Late strings")
    other.write(0, 0, "the very last header")
    other.write(1, 0, 5)
    book.add_sheet("Empty")
    file = io.BytesIO()
    book.save(file)
    facts("xlwt.xls", file.getvalue(),
          sheets=[dict(name="Данные", row_count=3001, columns=["номер", "name", "amount"], column_count=3),
                  dict(name="Late strings", row_count=1, columns=["the very last header"]),
                  dict(name="Empty", row_count=0)])
    return file.getvalue()


def ods(content, mimetype="application/vnd.oasis.opendocument.spreadsheet", manifest=None):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("mimetype", STAMP), mimetype)
        archive.writestr(zipfile.ZipInfo("content.xml", STAMP), content, zipfile.ZIP_DEFLATED)
        if manifest:
            archive.writestr(zipfile.ZipInfo("META-INF/manifest.xml", STAMP), manifest)
    return file.getvalue()


def open_document(rows):
    names = ('xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
             'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" '
             'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"')
    return (f'<office:document-content {names}><office:body><office:spreadsheet><table:table table:name="T">{rows}'
            "</table:table></office:spreadsheet></office:body></office:document-content>")


def hostile_workbooks(xls):
    cell = '<table:table-cell office:value-type="string"><text:p>id</text:p></table:table-cell>'
    number = '<table:table-cell office:value-type="float" office:value="1"><text:p>1</text:p></table:table-cell>'
    blank = '<table:table-cell table:number-columns-repeated="4294967295"/>'
    rows = f"<table:table-row>{cell}</table:table-row>"
    rows += f'<table:table-row table:number-rows-repeated="1000000">{number}</table:table-row>'
    rows += f'<table:table-row table:number-rows-repeated="18446744073709551615">{blank}</table:table-row>'
    note = '<table:table-cell><office:annotation><text:p>a note</text:p></office:annotation></table:table-cell>'
    facts("repeated.ods", ods(open_document(rows + f"<table:table-row>{note}</table:table-row>")),
          sheets=[dict(name="T", row_count=1000000, columns=["id"], column_count=1)])
    error("too-many-rows.ods", ods(open_document(rows.replace("1000000", "18446744073709551615"))), "malformed_file",
          "more rows")
    error("text.ods", ods("<office:document-content><office:body><office:text/></office:body></office:document-content>"),
          "malformed_file", "no spreadsheet")
    error("encrypted.ods", ods("noise", manifest="<m:manifest><m:file-entry><m:encryption-data/></m:file-entry>"
                                                 "</m:manifest>"), "encrypted_file", "encrypted")

    plain = package(SHEET % ("", HEAD + row(2) + row(3)))
    locked = io.BytesIO()
    msoffcrypto.format.ooxml.OOXMLFile(io.BytesIO(plain)).encrypt("secret", locked)
    error("encrypted.xlsx", locked.getvalue(), "encrypted_file", "encrypted")

    laughs = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    error("billion-laughs.xlsx", package((SHEET % ("", HEAD)).replace("\n<work", f"\n{laughs}<work")), "malformed_file",
          "document type")
    error("cut-xml.xlsx", package((SHEET % ("", HEAD + row(2)))[:-40]), "malformed_file", "ends too early")
    error("unpaired.xlsx", package(SHEET % ("", HEAD + "</row></sheetData></worksheet></a>")), "malformed_file",
          "not opened")
    error("broken-tag.xlsx", package(SHEET % ("", HEAD + '<row r="2"<c/>')), "malformed_file", "not closed")
    error("long-tag.xlsx", package(SHEET % ("", HEAD + '<row a="' + "x1y2" * 300_000 + '"/>')), "limit_exceeded",
          "tag")
    error("deep.xlsx", package(SHEET % ("", "<a>" * 300)), "limit_exceeded", "depth")
    error("bomb.xlsx", package(SHEET % ("", HEAD + " " * 60_000_000)), "limit_exceeded", "ratio")
    error("missing-part.xlsx", package("", parts={"xl/_rels/workbook.xml.rels": "<Relationships/>"}), "malformed_file",
          "no part")
    error("no-strings.xlsx", package(SHEET % ("", '<row r="1"><c r="A1" t="s"><v>7</v></c></row>')), "malformed_file",
          "has no strings")
    error("document.docx.xlsx", package("", parts={"xl/workbook.xml": "<document/>"}), "malformed_file", "another")
    error("path-trick.xlsx", package(SHEET % ("", HEAD), extra=[("../../etc/passwd", "x")]), "malformed_file",
          "leads out")
    error("same-name.xlsx", package(SHEET % ("", HEAD), extra=[("XL/WORKBOOK.XML", "<workbook/>")]), "malformed_file",
          "same name")
    error("cut-off.xlsx", plain[:-30], "malformed_file", "no directory")
    error("many-entries.xlsx", package(SHEET % ("", HEAD), [(f"x/{n}", "") for n in range(10_001)],
                                       zipfile.ZIP_STORED), "limit_exceeded", "entries")

    place = plain.rfind(b"PK\x01\x02")
    shorter = bytearray(plain)
    struct.pack_into("<I", shorter, place + 24, 100)
    error("wrong-size.xlsx", bytes(shorter), "malformed_file", "larger than the directory says")
    wrong = bytearray(plain)
    wrong[place + 16] ^= 1
    error("wrong-checksum.xlsx", bytes(wrong), "malformed_file", "checksum")
    overlapping = bytearray(plain)
    first = plain.find(b"PK\x01\x02")
    struct.pack_into("<I", overlapping, place + 42, struct.unpack_from("<I", plain, first + 42)[0])
    error("overlap.xlsx", bytes(overlapping), "malformed_file", "overlap")
    outside = bytearray(plain)
    struct.pack_into("<I", outside, place + 42, 0x7FFFFFFF)
    error("outside.xlsx", bytes(outside), "malformed_file", "outside")
    flagged = bytearray(plain)
    flagged[place + 8] |= 1
    error("encrypted-entry.xlsx", bytes(flagged), "encrypted_file", "encrypted")

    error("cut-off.xls", xls[:len(xls) // 2], "malformed_file", "")
    file_pass = bytearray(xls)
    writeaccess = xls.find(struct.pack("<HH", 0x5C, 112))
    struct.pack_into("<H", file_pass, writeaccess, 0x2F)
    error("encrypted.xls", bytes(file_pass), "encrypted_file", "encrypted")


def main():
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir()
    good_text()
    bad_text()
    hostile_workbooks(good_workbooks())


if __name__ == "__main__":
    main()
