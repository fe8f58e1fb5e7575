//! An operation's report as CSV (RFC 4180), safe to open in a spreadsheet.

use cloakroom_core::operation::Finding;

/// The first line.
pub const HEADER: &str = "\"kind\",\"action\",\"bucket\",\"key\",\"file_id\",\"detail\"\r\n";

/// One line of the report.
pub fn line(finding: &Finding) -> String {
    let file_id = finding.file_id.map(|id| id.to_string());
    let cells = [
        finding.kind.as_str(),
        finding.action.as_str(),
        finding.bucket.as_deref().unwrap_or_default(),
        finding.key.as_deref().unwrap_or_default(),
        file_id.as_deref().unwrap_or_default(),
        finding.detail.as_str(),
    ];
    let mut line = cells.map(cell).join(",");
    line.push_str("\r\n");
    line
}

/// A quoted cell. Keys are named by whoever uploads: a cell that a spreadsheet would take for a formula gets an
/// apostrophe in front (OWASP, "CSV Injection"), and control characters are left out.
fn cell(text: &str) -> String {
    let mut cell = String::with_capacity(text.len() + 2);
    cell.push('"');
    if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']) {
        cell.push('\'');
    }
    for c in text.chars() {
        match c {
            '"' => cell.push_str("\"\""),
            c if c.is_control() => cell.push(' '),
            c => cell.push(c),
        }
    }
    cell.push('"');
    cell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_quoted() {
        let finding = Finding {
            kind: "object_unknown".to_owned(),
            bucket: Some("b".to_owned()),
            key: Some("a, \"b\"\r\nc.txt".to_owned()),
            file_id: None,
            detail: "жалоба; 1".to_owned(),
            action: "reported".to_owned(),
        };
        assert_eq!(
            line(&finding),
            "\"object_unknown\",\"reported\",\"b\",\"a, \"\"b\"\"  c.txt\",\"\",\"жалоба; 1\"\r\n"
        );
    }

    #[test]
    fn nothing_is_a_formula() {
        for text in [
            "=1+1",
            "+1",
            "-1",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "\n=1",
            "＝1",
            "=HYPERLINK(\"http://x\")",
        ] {
            let cell = cell(text);
            assert!(cell.starts_with("\"'"), "{cell}");
        }
        assert_eq!(cell("a=1"), "\"a=1\"");
        assert_eq!(cell(""), "\"\"");
    }
}
