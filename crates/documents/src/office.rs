//! Office documents: the exact media type from the container.
//!
//! A name's ending and a browser's claim say nothing about a macro inside. The container does: OOXML names the type of
//! its main part in `[Content_Types].xml`, OpenDocument begins with its media type, and the older binary formats are
//! told apart by the streams of the compound file.

use std::io::{Read, Seek, SeekFrom};

use memchr::memmem;

use crate::{Error, cfb, zip};

/// What an office document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Office {
    /// The media type, as registered. A document with macros has the type of the macro-enabled format whatever it
    /// says itself. An encrypted OOXML document does not show which it is: `application/x-ole-storage`.
    pub media_type: &'static str,
    /// Whether its content is encrypted.
    pub encrypted: bool,
    /// Whether it carries macros (a VBA project or OpenDocument scripts).
    pub macros: bool,
}

/// Content types of main parts with the media types of their documents: without macros, with macros.
const OOXML: [(&str, &str, &str); 15] = [
    (
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "application/vnd.ms-word.document.macroEnabled.12",
    ),
    (
        "application/vnd.openxmlformats-officedocument.wordprocessingml.template.main+xml",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.template",
        "application/vnd.ms-word.template.macroEnabled.12",
    ),
    (
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "application/vnd.ms-excel.sheet.macroEnabled.12",
    ),
    (
        "application/vnd.openxmlformats-officedocument.spreadsheetml.template.main+xml",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.template",
        "application/vnd.ms-excel.template.macroEnabled.12",
    ),
    (
        "application/vnd.openxmlformats-officedocument.presentationml.presentation.main+xml",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "application/vnd.ms-powerpoint.presentation.macroEnabled.12",
    ),
    (
        "application/vnd.openxmlformats-officedocument.presentationml.slideshow.main+xml",
        "application/vnd.openxmlformats-officedocument.presentationml.slideshow",
        "application/vnd.ms-powerpoint.slideshow.macroEnabled.12",
    ),
    (
        "application/vnd.openxmlformats-officedocument.presentationml.template.main+xml",
        "application/vnd.openxmlformats-officedocument.presentationml.template",
        "application/vnd.ms-powerpoint.template.macroEnabled.12",
    ),
    (
        "application/vnd.ms-word.document.macroEnabled.main+xml",
        "",
        "application/vnd.ms-word.document.macroEnabled.12",
    ),
    (
        "application/vnd.ms-word.template.macroEnabledTemplate.main+xml",
        "",
        "application/vnd.ms-word.template.macroEnabled.12",
    ),
    (
        "application/vnd.ms-excel.sheet.macroEnabled.main+xml",
        "",
        "application/vnd.ms-excel.sheet.macroEnabled.12",
    ),
    (
        "application/vnd.ms-excel.template.macroEnabled.main+xml",
        "",
        "application/vnd.ms-excel.template.macroEnabled.12",
    ),
    (
        "application/vnd.ms-excel.addin.macroEnabled.main+xml",
        "",
        "application/vnd.ms-excel.addin.macroEnabled.12",
    ),
    (
        "application/vnd.ms-excel.sheet.binary.macroEnabled.main",
        "",
        "application/vnd.ms-excel.sheet.binary.macroEnabled.12",
    ),
    (
        "application/vnd.ms-powerpoint.presentation.macroEnabled.main+xml",
        "",
        "application/vnd.ms-powerpoint.presentation.macroEnabled.12",
    ),
    (
        "application/vnd.ms-powerpoint.slideshow.macroEnabled.main+xml",
        "",
        "application/vnd.ms-powerpoint.slideshow.macroEnabled.12",
    ),
];

const OPEN_DOCUMENT: [&str; 10] = [
    "application/vnd.oasis.opendocument.text",
    "application/vnd.oasis.opendocument.text-template",
    "application/vnd.oasis.opendocument.text-master",
    "application/vnd.oasis.opendocument.spreadsheet",
    "application/vnd.oasis.opendocument.spreadsheet-template",
    "application/vnd.oasis.opendocument.presentation",
    "application/vnd.oasis.opendocument.presentation-template",
    "application/vnd.oasis.opendocument.graphics",
    "application/vnd.oasis.opendocument.formula",
    "application/epub+zip",
];

/// Says which office document a file is, from its container. Content is read only as far as that takes.
///
/// # Errors
///
/// [`Error::Unsupported`] for what is no office document, [`Error::Malformed`] for a broken container,
/// [`Error::LimitExceeded`] for one with too much in it.
pub fn recognise_office(mut reader: impl Read + Seek) -> Result<Office, Error> {
    let mut magic = [0; 8];
    reader.seek(SeekFrom::Start(0))?;
    let mut filled = 0;
    while filled < magic.len() {
        match reader.read(&mut magic[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    if magic == cfb::MAGIC {
        return cfb::recognise(&mut reader);
    }
    if magic.starts_with(b"PK\x03\x04") {
        return in_zip(&mut reader);
    }
    Err(Error::Unsupported {
        what: "a file that is no office document",
    })
}

fn in_zip(reader: &mut (impl Read + Seek)) -> Result<Office, Error> {
    let archive = zip::Directory::read(reader)?;
    if let Some(entry) = archive.find(b"mimetype") {
        return open_document(reader, &archive, entry);
    }
    let Some(entry) = archive.find(b"[Content_Types].xml") else {
        return Err(Error::Unsupported {
            what: "a zip archive that is no office document",
        });
    };
    let types = entry.content(reader)?;
    let has_project = archive.entries().any(|entry| {
        let name = entry.name.to_ascii_lowercase();
        name.ends_with(b"vbaproject.bin") || name.ends_with(b"xl/macrosheets/sheet1.xml")
    });
    for (part, plain, with_macros) in OOXML {
        if !names_type(&types, part) {
            continue;
        }
        let macros = has_project || plain.is_empty();
        let media_type = if macros { with_macros } else { plain };
        return Ok(Office {
            media_type,
            encrypted: false,
            macros,
        });
    }
    Err(Error::Unsupported {
        what: "an Open Packaging document that is no office document",
    })
}

/// Whether `[Content_Types].xml` gives some part this type. The quotes keep one type from passing for a longer one.
fn names_type(types: &[u8], name: &str) -> bool {
    [b'"', b'\''].iter().any(|quote| {
        let quoted = [&[*quote], name.as_bytes(), &[*quote]].concat();
        memmem::find(types, &quoted).is_some()
    })
}

fn open_document(
    reader: &mut (impl Read + Seek),
    archive: &zip::Directory,
    entry: &zip::Entry,
) -> Result<Office, Error> {
    let name = entry.content(reader)?;
    let name = name.trim_ascii();
    let Some(media_type) = OPEN_DOCUMENT.into_iter().find(|known| known.as_bytes() == name) else {
        return Err(Error::Unsupported {
            what: "this OpenDocument type",
        });
    };
    let encrypted = match archive.find(b"META-INF/manifest.xml") {
        Some(manifest) => memmem::find(&manifest.content(reader)?, b":encryption-data").is_some(),
        None => false,
    };
    let macros = archive.entries().any(|entry| {
        let script = entry.name.starts_with(b"Basic/") || entry.name.starts_with(b"Scripts/");
        // Every document may carry an empty library; code is in the modules.
        script
            && !entry.name.ends_with(b"/")
            && !entry.name.ends_with(b".xlc")
            && !entry.name.ends_with(b".xlb")
    });
    Ok(Office {
        media_type,
        encrypted,
        macros,
    })
}
