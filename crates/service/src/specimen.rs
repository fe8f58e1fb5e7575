//! Files made on the spot, to try an instance with.

use std::fmt::Write as _;

/// A PDF of one page with one line of text (ISO 32000-1, section 7.5: header, body, cross-reference table, trailer). What is
/// neither an ASCII letter, a digit, a space, `-` nor `.` is left out of the text.
pub fn pdf(text: &str) -> Vec<u8> {
    let escaped: String = text
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '.'))
        .collect();
    let content = format!("BT /F1 24 Tf 72 720 Td ({escaped}) Tj ET");
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ];
    let mut file = String::from("%PDF-1.4\n");
    let mut offsets = Vec::new();
    for (index, object) in objects.iter().enumerate() {
        offsets.push(file.len());
        // Writing to a String cannot fail.
        let _ = write!(file, "{} 0 obj\n{object}\nendobj\n", index + 1);
    }
    let table = file.len();
    let _ = write!(file, "xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for offset in offsets {
        // Every entry is 20 bytes long, its end of line included.
        let _ = writeln!(file, "{offset:010} 00000 n ");
    }
    let _ = write!(
        file,
        "trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n",
        objects.len() + 1
    );
    file.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_of_the_pdf_points_where_it_says() {
        let file = String::from_utf8(pdf("Smoke (test) 42")).expect("text");
        assert!(file.starts_with("%PDF-") && file.ends_with("%%EOF\n") && file.contains("(Smoke test 42)"));
        let table: usize = file
            .lines()
            .rev()
            .nth(1)
            .and_then(|line| line.parse().ok())
            .expect("startxref");
        assert!(file[table..].starts_with("xref\n0 6\n"));
        let entries: Vec<&str> = file[table..].lines().skip(3).take(5).collect();
        for (index, entry) in entries.iter().enumerate() {
            let offset: usize = entry[..10].parse().expect("an offset");
            assert!(
                file[offset..].starts_with(&format!("{} 0 obj\n", index + 1)),
                "{entry}"
            );
            assert_eq!(entry.len(), 19);
        }
        let stream = file
            .split_once("stream\n")
            .and_then(|(_, rest)| rest.split_once("\nendstream"))
            .expect("a stream")
            .0;
        assert!(file.contains(&format!("/Length {} ", stream.len())));
    }
}
