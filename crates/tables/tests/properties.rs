//! Generated tables, beside the `csv` crate, whose rules for quotes are the same.

use cloakroom_tables::{Error, LineEnding, Options, Table, inspect_delimited};
use proptest::prelude::*;

fn cell() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z0-9 ]{0,12}",
        2 => "[a-zа-яё\"\n\r,;|\t ]{0,20}",
        1 => "[\"]{0,5}",
        1 => "[漢字é𝄞 ]{0,40}",
        1 => "[x\n]{0,300}",
    ]
}

/// Rows of the same width; the first cell of a row is never empty, for a row of one empty cell is a blank line.
fn rows() -> impl Strategy<Value = Vec<Vec<String>>> {
    (1..9_usize).prop_flat_map(|width| {
        prop::collection::vec(prop::collection::vec(cell(), width), 1..60).prop_map(|mut rows| {
            for row in &mut rows {
                row[0].insert(0, 'k');
            }
            rows
        })
    })
}

fn written(rows: &[Vec<String>], delimiter: u8, terminator: csv::Terminator, always_quote: bool) -> Vec<u8> {
    let style = if always_quote {
        csv::QuoteStyle::Always
    } else {
        csv::QuoteStyle::Necessary
    };
    let mut writer = csv::WriterBuilder::new()
        .delimiter(delimiter)
        .terminator(terminator)
        .quote_style(style)
        .from_writer(Vec::new());
    for row in rows {
        writer.write_record(row).expect("a row is written");
    }
    writer.into_inner().expect("the text is written")
}

fn inspect(text: &[u8], options: &Options) -> Result<Table, Error> {
    inspect_delimited(text, options)
}

/// What of an error is the same for all sizes of pieces.
fn outline(result: Result<Table, Error>) -> Result<Table, (&'static str, Option<u64>)> {
    result.map_err(|error| match error {
        Error::Malformed { line, .. } => ("malformed_file", line),
        other => (other.code(), None),
    })
}

/// The widths of the rows, by the `csv` crate.
fn by_csv(text: &[u8], delimiter: u8) -> Vec<usize> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(text);
    reader
        .byte_records()
        .map(|record| record.expect("bytes are read").len())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_is_counted(
        rows in rows(),
        delimiter in prop::sample::select(vec![b',', b';', b'\t', b'|']),
        ending in prop::sample::select(vec![LineEnding::Lf, LineEnding::CrLf, LineEnding::Cr]),
        always_quote: bool,
        piece_bytes in prop_oneof![1..400_usize, 1..100_000_usize],
    ) {
        let terminator = match ending {
            LineEnding::CrLf => csv::Terminator::CRLF,
            LineEnding::Cr => csv::Terminator::Any(b'\r'),
            _ => csv::Terminator::Any(b'\n'),
        };
        // Whether a line end of the other kind is quoted is the writer's choice: it must be.
        let text = written(&rows, delimiter, terminator, always_quote || ending != LineEnding::CrLf);
        let options = Options {
            delimiter: Some(delimiter),
            has_header: Some(true),
            encoding: Some("utf-8".to_owned()),
            piece_bytes,
            ..Options::default()
        };
        let table = inspect(&text, &options).expect("the table is sound");
        prop_assert_eq!(table.row_count, rows.len() as u64 - 1);
        prop_assert_eq!(table.column_count, rows[0].len() as u64);
        prop_assert_eq!(table.line_ending, Some(ending));
        prop_assert_eq!(table.ragged_rows, 0);
        let cleaned: Vec<String> =
            rows[0].iter().map(|name| name.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let cut: Vec<String> = cleaned.iter().map(|name| name.chars().take(200).collect()).collect();
        prop_assert_eq!(table.columns, cut.iter().map(|name| name.trim_end()).collect::<Vec<_>>());
    }

    #[test]
    fn every_encoding_gives_the_same_facts(rows in rows(), little: bool, mark: bool) {
        let text = String::from_utf8(written(&rows, b',', csv::Terminator::CRLF, true)).expect("UTF-8");
        let encode = |unit: u16| if little { unit.to_le_bytes() } else { unit.to_be_bytes() };
        let mut bytes: Vec<u8> = if mark { encode(0xFEFF).to_vec() } else { Vec::new() };
        bytes.extend(text.encode_utf16().flat_map(encode));
        let label = if little { "utf-16le" } else { "utf-16be" };
        let options = Options { encoding: Some(label.to_owned()), ..Options::default() };
        let wide = inspect(&bytes, &options).expect("the table is sound");
        let plain = Options { encoding: Some("utf-8".to_owned()), ..Options::default() };
        let narrow = inspect(text.as_bytes(), &plain).expect("the table is sound");
        prop_assert_eq!(&wide.encoding, label);
        prop_assert_eq!(Table { encoding: narrow.encoding.clone(), byte_order_mark: false, ..wide }, narrow);
    }

    /// Any text of the signs that matter: rows and raggedness as the csv crate sees them.
    #[test]
    fn stray_quotes_are_read_as_the_csv_crate_reads_them(
        text in "[ab,\"\"\n\n\r]{0,400}",
        repeat in 1..40_usize,
        piece_bytes in prop_oneof![1..400_usize, 1..100_000_usize],
    ) {
        let text = text.repeat(repeat);
        let widths = by_csv(text.as_bytes(), b',');
        let options = Options {
            delimiter: Some(b','), has_header: Some(false), strict: false, piece_bytes, ..Options::default()
        };
        match inspect(text.as_bytes(), &options) {
            Ok(table) => {
                prop_assert_eq!(table.row_count, widths.len() as u64);
                let first = widths.first().copied().unwrap_or(0);
                prop_assert_eq!(table.column_count, first as u64);
                let ragged = widths.iter().filter(|width| **width != first).count();
                prop_assert_eq!(table.ragged_rows, ragged as u64);
            }
            Err(error) => {
                // The csv crate takes the end of the file for the end of the quotes.
                prop_assert!(error.to_string().contains("not closed"), "{}", error);
            }
        }
    }

    #[test]
    fn any_bytes_give_an_answer_that_does_not_depend_on_the_pieces(
        text in prop::collection::vec(
            prop::sample::select(b"ab1,,;\t|\"\"\n\n\r \0\xD0\x90\xC3\xFF\xEF\xBB\xBF\x81".to_vec()), 0..300
        ),
        piece_bytes in 1..100_usize,
        strict: bool,
    ) {
        let whole = outline(inspect(&text, &Options { strict, ..Options::default() }));
        let pieces = outline(inspect(&text, &Options { strict, piece_bytes, ..Options::default() }));
        prop_assert_eq!(whole, pieces);
    }
}
