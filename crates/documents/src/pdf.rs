//! Opening a PDF: how many pages, of what size, encrypted or not, and by whom.

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

use hayro::hayro_syntax::page::Page;
use hayro::hayro_syntax::{LoadPdfError, Pdf};
use memchr::memmem;

use crate::deadline::{self, Begin};
use crate::{Error, Limits, streams, text};

/// Readers look for the header in the first bytes (ISO 32000-2, annex H.3.4.1 in the older edition).
const HEADER_WINDOW: usize = 1024;

/// A PDF that was opened, for its facts and for [`crate::preview`].
pub struct Document {
    /// How many pages there are.
    pub page_count: u32,
    /// Whether it is encrypted. One that opens without a password is readable all the same.
    pub encrypted: bool,
    /// The title in the document's information.
    pub title: Option<String>,
    /// The author in the document's information.
    pub author: Option<String>,
    /// Width of the first page in points (1/72 inch), as displayed: cropped and rotated.
    pub page_width: Option<f32>,
    /// Height of the first page in points, as displayed.
    pub page_height: Option<f32>,
    pub(crate) pdf: Arc<Pdf>,
    pub(crate) begun: Begin,
}

impl Debug for Document {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Document")
            .field("page_count", &self.page_count)
            .field("encrypted", &self.encrypted)
            .field("page_width", &self.page_width)
            .field("page_height", &self.page_height)
            .finish_non_exhaustive()
    }
}

/// Opens a PDF and reads its facts. The time of [`Limits::time`] begins here.
///
/// # Errors
///
/// [`Error::Encrypted`] where a password is needed, [`Error::LimitExceeded`], [`Error::Unsupported`] for what is no
/// PDF, [`Error::Malformed`] for one without a page tree, even after repair.
pub fn inspect(bytes: impl Into<Arc<Vec<u8>>>, limits: &Limits) -> Result<Document, Error> {
    let begun = Begin::now();
    let bytes: Arc<Vec<u8>> = bytes.into();
    let head = &bytes[..bytes.len().min(HEADER_WINDOW)];
    if memmem::find(head, b"%PDF-").is_none() {
        return Err(Error::Unsupported {
            what: "a file that does not begin like a PDF",
        });
    }
    let limits = limits.clone();
    deadline::run(begun, limits.time, move || open(bytes, &limits, begun))
}

fn open(bytes: Arc<Vec<u8>>, limits: &Limits, begun: Begin) -> Result<Document, Error> {
    streams::check_file(&bytes, limits)?;
    let pdf = Pdf::new(Arc::clone(&bytes)).map_err(|error| match error {
        LoadPdfError::Decryption(_) => Error::Encrypted,
        LoadPdfError::Invalid => Error::Malformed {
            message: "no pages were found",
            offset: 0,
        },
    })?;
    if pdf.len() > limits.objects {
        return Err(Error::LimitExceeded {
            limit: "objects",
            value: limits.objects as u64,
        });
    }
    let encrypted = is_encrypted(&bytes);
    let size = pdf.pages().first().and_then(page_size);
    let metadata = pdf.metadata();
    let field = |value: &Option<Box<[u8]>>| value.as_deref().and_then(text::decode);
    Ok(Document {
        page_count: u32::try_from(pdf.pages().len()).unwrap_or(u32::MAX),
        encrypted,
        title: field(&metadata.title),
        author: field(&metadata.author),
        page_width: size.map(|(width, _)| width),
        page_height: size.map(|(_, height)| height),
        pdf: Arc::new(pdf),
        begun,
    })
}

/// Width and height of a page as displayed; nothing where they are no numbers.
pub(crate) fn page_size(page: &Page<'_>) -> Option<(f32, f32)> {
    let (width, height) = page.render_dimensions();
    (width.is_finite() && height.is_finite() && width > 0.0 && height > 0.0).then_some((width, height))
}

/// Whether a document that opened without a password is encrypted: then it does not open with a wrong one.
fn is_encrypted(bytes: &Arc<Vec<u8>>) -> bool {
    memmem::find(bytes, b"/Encrypt").is_some()
        && matches!(
            Pdf::new_with_password(Arc::clone(bytes), "\u{1}not the password\u{2}"),
            Err(LoadPdfError::Decryption(_))
        )
}
