//! What a `[collections.NAME]` table says of images.

use std::collections::BTreeSet;

use cloakroom_core::image::{ImageFormat, ImagePolicy, THUMBNAILS_MAX, Thumbnail};

use crate::config::values::{Raw, Value};

/// Sizes.
pub(super) fn thumbnails(raw: &Raw) -> Result<Vec<Thumbnail>, String> {
    let items = Vec::<String>::read(raw)?;
    let thumbnails = items.iter().map(|item| item.parse());
    let thumbnails: Vec<Thumbnail> = thumbnails.collect::<Result<_, _>>()?;
    if thumbnails.len() > THUMBNAILS_MAX {
        return Err(format!("must have at most {THUMBNAILS_MAX} sizes"));
    }
    Ok(thumbnails)
}

/// What pictures are written as.
pub(super) fn format(raw: &Raw) -> Result<ImageFormat, String> {
    let text = String::read(raw)?;
    ImageFormat::parse(&text).ok_or_else(|| format!("must be auto, jpeg, webp or png, not {text:?}"))
}

/// How good they are.
pub(super) fn quality(raw: &Raw) -> Result<u8, String> {
    match u32::read(raw).map(u8::try_from)? {
        Ok(quality @ 1..=100) => Ok(quality),
        _ => Err("must be from 1 to 100".to_owned()),
    }
}

/// How many variants of one file are kept.
pub(super) fn variants_max(raw: &Raw) -> Result<u32, String> {
    match u32::read(raw)? {
        max @ 1..=1_000 => Ok(max),
        other => Err(format!("must be from 1 to 1000, not {other}")),
    }
}

/// The processor that makes thumbnails.
const IMAGE_PROCESSOR: &str = "image";

/// What must hold between these fields and the processors.
pub(super) fn contradictions(images: &ImagePolicy, processors: &[String]) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let names: BTreeSet<&str> = images.thumbnails.iter().map(|one| one.name.as_str()).collect();
    if names.len() < images.thumbnails.len() {
        found.push(("thumbnails", "names a size twice".to_owned()));
    }
    if !images.thumbnails.is_empty() && !processors.iter().any(|name| name == IMAGE_PROCESSOR) {
        let missing = format!("needs {IMAGE_PROCESSOR} among its processors");
        found.push(("thumbnails", missing));
    }
    found
}

#[cfg(test)]
mod tests {
    use cloakroom_core::collection::Collection;

    use super::*;
    use crate::config::collections::FIELDS;

    fn set(name: &str, raw: &Raw) -> Result<Collection, String> {
        let field = FIELDS.iter().find(|field| field.name == name).expect("a field");
        let mut collection = Collection::new("x", "bucket");
        (field.set)(&mut collection, raw).map(|()| collection)
    }

    #[test]
    fn sizes_and_how_they_are_shown() {
        let raw = Raw::Text("256, 1024x768,512x512:cover".to_owned());
        let collection = set("thumbnails", &raw).expect("legal");
        let names: Vec<_> = collection
            .images
            .thumbnails
            .iter()
            .map(|one| one.name.as_str())
            .collect();
        assert_eq!(
            names,
            ["thumbnail-256", "thumbnail-1024x768", "thumbnail-512-cover"]
        );
        let field = FIELDS
            .iter()
            .find(|field| field.name == "thumbnails")
            .expect("a field");
        assert_eq!((field.show)(&collection), "256,1024x768,512:cover");
        assert_eq!(
            set("thumbnails", &Raw::Text(String::new())),
            Ok(Collection::new("x", "bucket"))
        );
    }

    #[test]
    fn what_cannot_be_made_is_refused() {
        let text = |text: &str| Raw::Text(text.to_owned());
        let table = [
            ("thumbnails", text("0")),
            ("thumbnails", text("5000")),
            ("thumbnails", text("10x20:crop")),
            ("thumbnails", text("1,2,3,4,5,6,7,8,9")),
            ("thumbnail_format", text("gif")),
            ("thumbnail_quality", Raw::Integer(0)),
            ("thumbnail_quality", Raw::Integer(101)),
            ("thumbnail_quality", Raw::Integer(1_000)),
            ("variants", text("some")),
            ("variants_max", Raw::Integer(0)),
            ("variants_max", Raw::Integer(1_001)),
        ];
        for (name, raw) in table {
            assert!(set(name, &raw).is_err(), "{name} = {raw:?}");
        }
    }

    #[test]
    fn thumbnails_need_their_processor() {
        let of = |sizes: &[&str], processors: &[&str]| -> Vec<_> {
            let thumbnails = sizes.iter().map(|size| size.parse().expect("a size")).collect();
            let policy = ImagePolicy {
                thumbnails,
                ..ImagePolicy::default()
            };
            let processors: Vec<String> = processors.iter().map(|&name| name.to_owned()).collect();
            contradictions(&policy, &processors)
        };
        assert_eq!(of(&[], &[]), []);
        assert_eq!(of(&["1", "2"], &["image"]), []);
        assert_eq!(of(&["1"], &["table"]).len(), 1);
        assert_eq!(of(&["64", "64x64:contain"], &["image"]).len(), 1);
    }
}
