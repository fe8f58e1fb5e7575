//! How old reports are removed: in portions, as one may have millions of lines.

/// Lines of a report that one transaction removes: few enough to be far from every time limit, and that nobody waits long
/// for the transaction.
pub(crate) const FINDINGS_AT_ONCE: u32 = 5_000;

/// What one step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trimmed {
    /// No operation was over for so long.
    Nothing,
    /// Lines from the end of a report; there may be more of them.
    Findings,
    /// The last lines, and their operation.
    Operation,
}
