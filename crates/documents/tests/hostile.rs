//! No bytes make the parser hang or grow: PDFs that are bombs and mazes, and thousands of damaged ones.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt::Write as _;
use std::fs;
use std::io::{Cursor, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cloakroom_documents::{Document, Error, Limits, Preview, inspect, preview, recognise_office};
use flate2::Compression;
use flate2::write::ZlibEncoder;

/// Processor time: the limit, and what passes until it is noticed (two processors count double).
const SLOWEST: Duration = Duration::from_secs(2);
const MOST_MEMORY: u64 = 256 << 20;
/// For what is drawn until the deadline: the interpreter collects it before it paints.
const PROCESS_MEMORY: u64 = 512 << 20;

/// A small generator (xorshift64*), so that a failure can be run again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound.max(1)
    }
}

type Outcome = Result<(Document, Result<Preview, Error>), Error>;

fn run(what: &str, bytes: Vec<u8>) -> Outcome {
    let begun = processor_time();
    let limits = Limits::default();
    let result = inspect(bytes, &limits).map(|document| {
        let picture = preview(&document, 256, &limits);
        (document, picture)
    });
    let taken = processor_time().saturating_sub(begun);
    assert!(taken < SLOWEST, "{what} took {taken:?}");
    if !what.contains("mutation") {
        let outcome = match &result {
            Ok((document, Ok(_))) => format!("{} pages and a preview", document.page_count),
            Ok((document, Err(error))) => format!("{} pages, no preview: {error}", document.page_count),
            Err(error) => error.to_string(),
        };
        println!(
            "{what}: {outcome} after {taken:?}, peak {} MiB",
            peak_memory() >> 20
        );
    }
    result
}

/// Runs `body` in a process of its own, this test alone: what a deadline leaves behind ends with the process, and the
/// memory is that of this test. `name` is the name of the test.
fn alone(name: &str, body: impl FnOnce()) {
    alone_within(name, MOST_MEMORY, body);
}

fn alone_within(name: &str, memory: u64, body: impl FnOnce()) {
    if std::env::args().any(|argument| argument == "--exact") {
        body();
        assert!(peak_memory() < memory, "{} MiB", peak_memory() >> 20);
        return;
    }
    let this = std::env::current_exe().unwrap();
    let output = Command::new(this)
        .args([name, "--exact", "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{}\n{said}{complaints}",
        output.status
    );
}

/// Processor time of this process.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap())
}

/// Memory that this process had at most, in bytes (`VmHWM`).
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Deflated blanks, without holding them.
fn blanks(megabytes: usize) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    let piece = vec![b' '; 1 << 20];
    for _ in 0..megabytes {
        encoder.write_all(&piece).unwrap();
    }
    encoder.finish().unwrap()
}

/// A PDF written object by object.
#[derive(Default)]
struct Builder {
    objects: Vec<(u32, Vec<u8>)>,
}

impl Builder {
    fn page(content: &[u8], resources: &str) -> Self {
        let mut builder = Self::default();
        builder.put(1, "<< /Type /Catalog /Pages 2 0 R >>");
        builder.put(2, "<< /Type /Pages /Kids [3 0 R] /Count 1 >>");
        builder.put(
            3,
            &format!(
                "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R /Resources << {resources} >> >>"
            ),
        );
        builder.stream(4, "", content);
        builder
    }

    fn put(&mut self, number: u32, body: &str) {
        self.objects.push((number, body.as_bytes().to_vec()));
    }

    fn stream(&mut self, number: u32, dictionary: &str, data: &[u8]) {
        let mut body = format!("<< {dictionary} /Length {} >>\nstream\n", data.len()).into_bytes();
        body.extend(data);
        body.extend(b"\nendstream");
        self.objects.push((number, body));
    }

    fn build(&self) -> Vec<u8> {
        let mut bytes = b"%PDF-1.5\n".to_vec();
        let size = self.objects.iter().map(|(number, _)| *number).max().unwrap() as usize + 1;
        let mut offsets = vec![None; size];
        for (number, body) in &self.objects {
            offsets[*number as usize] = Some(bytes.len());
            writeln!(bytes, "{number} 0 obj").unwrap();
            bytes.extend(body);
            bytes.extend(b"\nendobj\n");
        }
        let start = bytes.len();
        write!(bytes, "xref\n0 {size}\n0000000000 65535 f \n").unwrap();
        for offset in &offsets[1..] {
            match offset {
                Some(offset) => writeln!(bytes, "{offset:010} 00000 n ").unwrap(),
                None => writeln!(bytes, "0000000000 00000 f ").unwrap(),
            }
        }
        write!(
            bytes,
            "trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n"
        )
        .unwrap();
        bytes
    }
}

fn code(outcome: Outcome) -> &'static str {
    match outcome {
        Ok((_, Ok(_))) => "preview",
        Ok((_, Err(error))) | Err(error) => error.code(),
    }
}

#[test]
fn bombs_are_refused_before_they_go_off() {
    alone("bombs_are_refused_before_they_go_off", || {
        let mut content = Builder::page(b"", "");
        content.objects.pop();
        content.stream(4, "/Filter /FlateDecode", &blanks(600));
        assert_eq!(code(run("a page of 600 MiB", content.build())), "limit_exceeded");

        let mut twice = Builder::page(b"", "");
        twice.objects.pop();
        twice.stream(4, "/Filter [/FlateDecode /FlateDecode]", &deflate(&blanks(600)));
        assert_eq!(
            code(run("the same, compressed twice", twice.build())),
            "limit_exceeded"
        );

        let mut objects = Builder::page(b"0 0 10 10 re f", "");
        objects.stream(
            5,
            "/Type /ObjStm /N 1 /First 4 /Filter /FlateDecode",
            &blanks(600),
        );
        assert_eq!(
            code(run("a stream of objects of 600 MiB", objects.build())),
            "limit_exceeded"
        );

        let mut form = Builder::page(b"/X Do", "/XObject << /X 5 0 R >>");
        form.stream(
            5,
            "/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Filter /FlateDecode",
            &blanks(600),
        );
        assert_eq!(code(run("a form of 600 MiB", form.build())), "limit_exceeded");

        let dictionary = "/Type /XObject /Subtype /Image /Width 60000 /Height 60000 /ColorSpace /DeviceRGB /BitsPerComponent 8";
        let mut image = Builder::page(b"600 0 0 800 0 0 cm /X Do", "/XObject << /X 5 0 R >>");
        image.stream(5, &format!("{dictionary} /Filter /FlateDecode"), &blanks(100));
        assert_eq!(
            code(run("an image of 60,000 by 60,000 pixels", image.build())),
            "limit_exceeded"
        );

        let mut small = Builder::page(b"600 0 0 800 0 0 cm /X Do", "/XObject << /X 5 0 R >>");
        let dictionary = dictionary.replace("60000", "10");
        small.stream(5, &format!("{dictionary} /Filter /FlateDecode"), &blanks(600));
        assert_eq!(
            code(run("an image with 600 MiB of data", small.build())),
            "limit_exceeded"
        );
    });
}

#[test]
fn mazes_have_an_end() {
    alone("mazes_have_an_end", || {
        let mut kids = Builder::default();
        kids.put(1, "<< /Type /Catalog /Pages 2 0 R >>");
        kids.put(2, "<< /Type /Pages /Kids [2 0 R 3 0 R] /Count 2 >>");
        kids.put(
            3,
            "<< /Type /Pages /Kids [2 0 R 3 0 R 4 0 R] /Parent 3 0 R /Count 2 >>",
        );
        kids.put(4, "<< /Type /Page /Parent 4 0 R /MediaBox [0 0 9 9] >>");
        let (document, picture) = run("a page tree that leads back", kids.build()).unwrap();
        assert_eq!(document.page_count, 1);
        picture.unwrap();

        let mut xref = Builder::page(b"", "").build();
        let start = xref.windows(5).rposition(|window| window == b"xref\n").unwrap();
        let table = xref.windows(5).position(|window| window == b"xref\n").unwrap();
        assert!(table <= start);
        let trailer = xref.windows(7).position(|window| window == b"trailer").unwrap() + 11;
        xref.splice(trailer..trailer, format!("/Prev {table} ").into_bytes());
        let (document, _) = run("a cross-reference table before itself", xref).unwrap();
        assert_eq!(document.page_count, 1, "repaired");

        let mut forms = Builder::page(b"/X Do", "/XObject << /X 5 0 R >>");
        let loop_form = "/Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X 5 0 R >> >>";
        forms.stream(5, loop_form, b"/X Do /X Do");
        code(run("a form that draws itself twice", forms.build()));
    });
}

#[test]
fn forms_in_forms_end() {
    alone_within("forms_in_forms_end", PROCESS_MEMORY, || {
        let mut laughs = Builder::page(b"/X Do", "/XObject << /X 5 0 R >>");
        for level in 5..45 {
            let next = level + 1;
            let dictionary =
                format!("/Subtype /Form /BBox [0 0 600 800] /Resources << /XObject << /X {next} 0 R >> >>");
            laughs.stream(level, &dictionary, &b"/X Do ".repeat(20));
        }
        laughs.stream(45, "/Subtype /Form /BBox [0 0 600 800]", b"0 0 600 800 re f");
        assert_eq!(
            code(run("forms in forms, twenty each time", laughs.build())),
            "limit_exceeded"
        );
    });
}

#[test]
fn nesting_does_not_reach_the_end_of_the_stack() {
    alone("nesting_does_not_reach_the_end_of_the_stack", || {
        for (open, close) in [("[", "]"), ("<< /A ", ">>"), ("(", ")")] {
            let deep = format!("{}{}", open.repeat(200_000), close.repeat(200_000));
            let mut builder = Builder::page(b"", "");
            builder.put(5, &deep);
            builder.put(6, &format!("<< /Title {deep} >>"));
            code(run(&format!("{open} in the file"), builder.build()));
            code(run(
                &format!("{open} in the page"),
                Builder::page(deep.as_bytes(), "").build(),
            ));
            let hex = Builder::page(b"", &format!("/ExtGState {deep}"));
            code(run(&format!("{open} in the resources"), hex.build()));
        }
        let saves = Builder::page(&b"q 0.99 0 0 0.99 0 0 cm ".repeat(300_000), "").build();
        code(run("states saved and never restored", saves));
        let clips = Builder::page(&b"0 0 600 800 re W n ".repeat(300_000), "").build();
        code(run("clips in clips", clips));
    });
}

#[test]
fn many_curves_end() {
    alone_within("many_curves_end", PROCESS_MEMORY, || {
        let mut random = Random(7);
        let mut curves = String::new();
        for _ in 0..400_000 {
            let mut point = || random.below(600);
            writeln!(
                curves,
                "{} {} m {} {} {} {} {} {} c S",
                point(),
                point(),
                point(),
                point(),
                point(),
                point(),
                point(),
                point()
            )
            .unwrap();
        }
        code(run(
            "400,000 curves",
            Builder::page(curves.as_bytes(), "").build(),
        ));
    });
}

#[test]
fn small_tiles_end() {
    alone("small_tiles_end", || {
        let mut tiles = Builder::page(b"/Pattern cs /P scn 0 0 600 800 re f", "/Pattern << /P 5 0 R >>");
        let pattern = "/PatternType 1 /PaintType 1 /TilingType 1 /BBox [0 0 1 1] /XStep 0.001 /YStep 0.001 /Resources << >>";
        tiles.stream(5, pattern, b"0 0 1 1 re f");
        code(run("tiles of a thousandth of a point", tiles.build()));
    });
}

#[test]
fn small_dashes_end() {
    // The interpreter makes every dash a path before it draws one. The memory is for the limit of the process.
    alone_within("small_dashes_end", u64::MAX, || {
        let dashes = Builder::page(
            b"[0.0001 0.0001] 0 d 0 0 m 600 800 l S ".repeat(50).as_slice(),
            "",
        )
        .build();
        code(run("millions of dashes", dashes));
    });
}

#[test]
fn long_programs_end() {
    alone("long_programs_end", || {
        let function = "<< /FunctionType 4 /Domain [0 1 0 1] /Range [0 1 0 1 0 1]";
        let mut shading = Builder::page(b"/S sh ".repeat(100).as_slice(), "/Shading << /S 5 0 R >>");
        shading.put(
            5,
            "<< /ShadingType 1 /ColorSpace /DeviceRGB /Function 6 0 R /Matrix [600 0 0 800 0 0] >>",
        );
        let program = format!("{{ {} pop pop 0 0 0 }}", "dup mul sqrt ".repeat(5_000));
        shading.stream(6, &function[3..], program.as_bytes());
        code(run("a shading by a long program", shading.build()));
    });
}

#[test]
fn a_hundred_thousand_pages_are_counted() {
    alone("a_hundred_thousand_pages_are_counted", || {
        let (document, picture) = run("100,000 pages", many_pages(100_000)).unwrap();
        assert_eq!(document.page_count, 100_000);
        picture.unwrap();
    });
}

#[test]
fn more_pages_are_not_opened() {
    alone("more_pages_are_not_opened", || {
        assert_eq!(
            code(run("a million pages", many_pages(1_000_000))),
            "limit_exceeded"
        );
        let few = Limits {
            objects: 5_000,
            ..Limits::default()
        };
        assert_eq!(
            inspect(many_pages(6_000), &few).unwrap_err().code(),
            "limit_exceeded"
        );
    });
}

fn many_pages(count: u32) -> Vec<u8> {
    let mut builder = Builder::default();
    builder.put(1, "<< /Type /Catalog /Pages 2 0 R >>");
    let kids = (10..10 + count).fold(String::new(), |mut kids, number| {
        write!(kids, "{number} 0 R ").unwrap();
        kids
    });
    builder.put(
        2,
        &format!("<< /Type /Pages /Kids [{kids}] /Count {count} /MediaBox [0 0 9 9] >>"),
    );
    for number in 10..10 + count {
        builder.put(number, "<< /Type /Page /Parent 2 0 R >>");
    }
    builder.build()
}

#[test]
fn a_cross_reference_stream_cannot_claim_millions_of_objects() {
    alone(
        "a_cross_reference_stream_cannot_claim_millions_of_objects",
        || {
            let mut bytes = b"%PDF-1.5\n".to_vec();
            let start = bytes.len();
            let table = blanks(64);
            write!(bytes, "9 0 obj\n<< /Type /XRef /Size 60000000 /W [0 1 0] /Root 1 0 R /Filter /FlateDecode /Length {} >>\nstream\n", table.len()).unwrap();
            bytes.extend(table);
            write!(bytes, "\nendstream\nendobj\nstartxref\n{start}\n%%EOF\n").unwrap();
            assert_eq!(code(run("64 million objects", bytes)), "limit_exceeded");
        },
    );
}

#[test]
fn absurd_pages_have_a_count_and_no_preview() {
    alone("absurd_pages_have_a_count_and_no_preview", || {
        for (size, expected) in [
            (
                "[0 0 1000000000000000000000000000000 1000000000000000000000000000000]",
                "limit_exceeded",
            ),
            ("[0 0 200000 10]", "limit_exceeded"),
            (
                "[0 0 99999999999999999999999999999999999999999999 1]",
                "limit_exceeded",
            ),
            ("[0 0 14400 0.0001]", "preview"),
            ("[-5 -5 -5 -5]", "preview"),
            ("[0 0 /A /B]", "preview"),
            ("[]", "preview"),
        ] {
            let mut builder = Builder::page(b"0 0 10 10 re f", "");
            builder.objects[2].1 =
                format!("<< /Type /Page /Parent 2 0 R /MediaBox {size} /Contents 4 0 R >>").into_bytes();
            let outcome = run(size, builder.build());
            assert_eq!(
                outcome.as_ref().map(|(document, _)| document.page_count).unwrap(),
                1,
                "{size}"
            );
            assert_eq!(code(outcome), expected, "{size}");
        }
    });
}

#[test]
fn what_is_no_pdf_is_told_apart_from_what_is_a_broken_one() {
    assert_eq!(
        inspect(b"hello".to_vec(), &Limits::default()).unwrap_err().code(),
        "unsupported_format"
    );
    assert_eq!(
        inspect(Vec::new(), &Limits::default()).unwrap_err().code(),
        "unsupported_format"
    );
    assert_eq!(
        inspect(b"%PDF-1.4\n".to_vec(), &Limits::default())
            .unwrap_err()
            .code(),
        "malformed_file"
    );
}

fn corpus(pdf: bool) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus/documents");
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| (extension == "pdf") == pdf && extension != "json")
        })
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                fs::read(&path).unwrap(),
            )
        })
        .collect();
    files.sort();
    assert!(files.len() >= 20);
    files
}

fn mutate(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut mutated = bytes.to_vec();
    for _ in 0..=random.below(6) {
        if mutated.is_empty() {
            break;
        }
        let at = random.below(mutated.len());
        let end = (at + random.below(40)).min(mutated.len());
        match random.below(7) {
            0 => mutated[at] ^= 1 << random.below(8),
            1 => mutated[at] = random.below(256) as u8,
            2 => mutated.truncate(at),
            3 => drop(mutated.drain(at..end)),
            4 => {
                let from = random.below(mutated.len());
                let piece = mutated[from..(from + random.below(200)).min(mutated.len())].to_vec();
                mutated.splice(at..at, piece);
            }
            // Digits are where lengths, offsets and references are.
            5 => {
                if let Some(digit) = mutated[at..].iter_mut().find(|byte| byte.is_ascii_digit()) {
                    *digit = b'0' + random.below(10) as u8;
                }
            }
            _ => {
                let tokens: [&[u8]; 8] = [
                    b"<<",
                    b">>",
                    b"[",
                    b" 2 0 R ",
                    b" 99999999999 ",
                    b"-1 ",
                    b"endobj ",
                    b"stream\n",
                ];
                mutated.splice(at..at, tokens[random.below(8)].iter().copied());
            }
        }
    }
    mutated
}

#[test]
fn damaged_documents_end_in_facts_or_errors() {
    alone("damaged_documents_end_in_facts_or_errors", || {
        let rounds: usize = option_env!("CLOAKROOM_MUTATIONS").map_or(60, |rounds| rounds.parse().unwrap());
        let mut outcomes = [0_u32; 2];
        for (index, (name, bytes)) in corpus(true).iter().enumerate() {
            let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ (index as u64 + 1));
            // Large files cost the most and say the least.
            let rounds = if bytes.len() > 20_000 { rounds / 10 } else { rounds };
            for round in 0..rounds {
                let mutated = mutate(bytes, &mut random);
                let result = run(&format!("{name}, mutation {round}"), mutated);
                outcomes[usize::from(result.is_err())] += 1;
            }
        }
        assert!(outcomes[0] > 100 && outcomes[1] > 20, "both happen: {outcomes:?}");
    });
}

#[test]
fn damaged_containers_end_in_types_or_errors() {
    for (index, (name, bytes)) in corpus(false).iter().enumerate() {
        let mut random = Random(index as u64 + 77);
        for round in 0..1_000 {
            let begun = Instant::now();
            drop(recognise_office(Cursor::new(mutate(bytes, &mut random))));
            assert!(begun.elapsed() < SLOWEST, "{name}, mutation {round}");
        }
        for length in 0..bytes.len().min(1_000) {
            drop(recognise_office(Cursor::new(&bytes[..length])));
        }
    }
}
