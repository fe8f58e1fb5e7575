//! Lists of keys.

use std::collections::BTreeSet;

use cloakroom_core::ports::objects::{ListOptions, MultipartOptions};

use super::{Sequence, Subject, odd_keys};

fn all() -> ListOptions {
    ListOptions {
        limit: 1_000,
        ..ListOptions::default()
    }
}

async fn put_all(subject: &Subject, keys: &[&str]) {
    for key in keys {
        subject.put(key, key.as_bytes().to_vec()).await;
    }
}

/// Every page, one after the other: what each held, keys and prefixes in order.
async fn pages(subject: &Subject, options: ListOptions) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut after = options.after.clone();
    loop {
        let page = subject
            .list(&ListOptions {
                after,
                ..options.clone()
            })
            .await;
        let mut found: Vec<_> = page.objects.into_iter().map(|object| object.key).collect();
        found.extend(page.common_prefixes);
        found.sort();
        assert!(found.len() <= options.limit as usize);
        assert_eq!(
            page.next.is_some(),
            page.next.as_ref() == found.last() && page.next.is_some()
        );
        pages.push(found);
        match page.next {
            Some(next) => after = Some(next),
            None => return pages,
        }
    }
}

/// What S3 would list, computed from the set of keys.
fn model(keys: &BTreeSet<String>, options: &ListOptions) -> (Vec<String>, Vec<String>, Option<String>) {
    let fold = |key: &str| {
        let rest = key.strip_prefix(options.prefix.as_str())?;
        let at = if options.delimiter.is_empty() {
            None
        } else {
            rest.find(options.delimiter.as_str())
        };
        at.map(|at| key[..options.prefix.len() + at + options.delimiter.len()].to_owned())
    };
    let (mut objects, mut prefixes, mut last) = (Vec::new(), Vec::<String>::new(), None);
    for key in keys.iter().filter(|key| key.starts_with(&options.prefix)) {
        let folded = fold(key);
        let before = options
            .after
            .as_ref()
            .is_some_and(|after| key <= after || folded.as_ref() == Some(after));
        if before || folded.is_some() && folded.as_ref() == prefixes.last() {
            continue;
        }
        if objects.len() + prefixes.len() == options.limit as usize {
            return (objects, prefixes, last);
        }
        last = Some(folded.clone().unwrap_or_else(|| key.clone()));
        match folded {
            Some(prefix) => prefixes.push(prefix),
            None => objects.push(key.clone()),
        }
    }
    (objects, prefixes, None)
}

/// No keys, no next page.
pub async fn an_empty_bucket_has_no_keys(subject: &Subject) {
    let page = subject.list(&all()).await;
    assert!(page.objects.is_empty() && page.common_prefixes.is_empty() && page.next.is_none());
}

/// Byte order of the keys, which is not the order of their directories.
pub async fn keys_come_in_byte_order(subject: &Subject) {
    let mut keys = odd_keys();
    keys.retain(|key| subject.takes(key));
    keys.extend(["n!", "n-", "n/b!", "n0", "n/b/", "n/b0"].map(str::to_owned));
    for key in &keys {
        subject.put(key, "v").await;
    }
    keys.sort();
    let listed = subject.keys().await;
    assert_eq!(listed.len(), keys.len());
    for (listed, key) in listed.iter().zip(&keys) {
        assert_eq!(listed, key);
    }
}

/// Pages of every size hold the same keys.
pub async fn pages_of_every_size_add_up(subject: &Subject) {
    let keys = ["a", "a/b", "a/b/c", "a/c", "a0", "b/x/y/z", "b/x/y0", "c", "d/"];
    put_all(subject, &keys).await;
    for limit in 1..=keys.len() + 1 {
        let pages = pages(
            subject,
            ListOptions {
                limit: limit as u32,
                ..ListOptions::default()
            },
        )
        .await;
        assert_eq!(pages.concat(), keys, "limit {limit}");
        assert_eq!(
            pages.len(),
            keys.len().div_ceil(limit),
            "the last page says that it is the last"
        );
    }
}

/// A prefix may end anywhere.
pub async fn a_prefix_selects(subject: &Subject) {
    put_all(
        subject,
        &["a", "ab/c", "ab/cd", "ab/d/e", "abc", "b", "ünï/x", "z//y"],
    )
    .await;
    let table: [(&str, &[&str]); 10] = [
        ("a", &["a", "ab/c", "ab/cd", "ab/d/e", "abc"]),
        ("ab", &["ab/c", "ab/cd", "ab/d/e", "abc"]),
        ("ab/", &["ab/c", "ab/cd", "ab/d/e"]),
        ("ab/c", &["ab/c", "ab/cd"]),
        ("ab/d/e", &["ab/d/e"]),
        ("ab/d/e/", &[]),
        ("x", &[]),
        ("ü", &["ünï/x"]),
        ("z/", &["z//y"]),
        ("z//", &["z//y"]),
    ];
    for (prefix, expected) in table {
        let page = subject
            .list(&ListOptions {
                prefix: prefix.into(),
                ..all()
            })
            .await;
        let keys: Vec<_> = page.objects.into_iter().map(|object| object.key).collect();
        assert_eq!(keys, expected, "{prefix:?}");
    }
}

/// A delimiter folds what shares the part before it, after the prefix.
pub async fn a_delimiter_folds(subject: &Subject) {
    put_all(
        subject,
        &["a", "b/", "b/1", "b/2", "c/d/e", "c/d/f", "c/g", "h//i"],
    )
    .await;
    let table: [(&str, &[&str], &[&str]); 7] = [
        ("", &["a"], &["b/", "c/", "h/"]),
        ("b", &[], &["b/"]),
        ("b/", &["b/", "b/1", "b/2"], &[]),
        ("c/", &["c/g"], &["c/d/"]),
        ("c/d", &[], &["c/d/"]),
        ("c/d/", &["c/d/e", "c/d/f"], &[]),
        ("h/", &[], &["h//"]),
    ];
    for (prefix, objects, prefixes) in table {
        let page = subject
            .list(&ListOptions {
                prefix: prefix.into(),
                delimiter: "/".into(),
                ..all()
            })
            .await;
        let keys: Vec<_> = page.objects.into_iter().map(|object| object.key).collect();
        assert_eq!(keys, objects, "{prefix:?}");
        assert_eq!(page.common_prefixes, prefixes, "{prefix:?}");
    }
}

/// One character or several, or one that is not ASCII.
pub async fn delimiters_may_be_anything(subject: &Subject) {
    put_all(
        subject,
        &["a-b-c", "a-b/d", "a/b-c", "aXYb", "aXYc", "aXb", "éa", "éb"],
    )
    .await;
    let table: [(&str, &[&str]); 5] = [
        ("-", &["a-", "a/b-"]),
        ("XY", &["aXY"]),
        ("é", &["é"]),
        ("b/", &["a-b/"]),
        ("a", &["a", "éa"]),
    ];
    for (delimiter, prefixes) in table {
        let page = subject
            .list(&ListOptions {
                delimiter: delimiter.into(),
                ..all()
            })
            .await;
        assert_eq!(page.common_prefixes, prefixes, "{delimiter:?}");
    }
}

/// Prefixes count like keys, and none comes twice.
pub async fn pages_of_prefixes_add_up(subject: &Subject) {
    put_all(
        subject,
        &["a/1", "a/2", "b", "c/1/x", "c/2/y", "d/1", "e", "e/1", "e/2"],
    )
    .await;
    for limit in 1..=8 {
        let options = ListOptions {
            delimiter: "/".into(),
            limit,
            ..ListOptions::default()
        };
        assert_eq!(
            pages(subject, options).await.concat(),
            ["a/", "b", "c/", "d/", "e", "e/"],
            "limit {limit}"
        );
    }
}

/// `after` needs no key of its own.
pub async fn after_a_key_that_is_not_there(subject: &Subject) {
    put_all(subject, &["a/b", "a/d", "c", "e/f/g"]).await;
    let table: [(&str, &[&str]); 10] = [
        ("", &["a/b", "a/d", "c", "e/f/g"]),
        ("a", &["a/b", "a/d", "c", "e/f/g"]),
        ("a/", &["a/b", "a/d", "c", "e/f/g"]),
        ("a/b", &["a/d", "c", "e/f/g"]),
        ("a/c", &["a/d", "c", "e/f/g"]),
        ("a/z", &["c", "e/f/g"]),
        ("b", &["c", "e/f/g"]),
        ("e/f/", &["e/f/g"]),
        ("e/f/g", &[]),
        ("\u{10ffff}", &[]),
    ];
    for (after, expected) in table {
        let page = subject
            .list(&ListOptions {
                after: Some(after.into()),
                ..all()
            })
            .await;
        let keys: Vec<_> = page.objects.into_iter().map(|object| object.key).collect();
        assert_eq!(keys, expected, "{after:?}");
    }
}

/// After a common prefix comes what it does not stand for; after a key in it, it comes once more.
pub async fn after_a_common_prefix(subject: &Subject) {
    put_all(subject, &["a/1", "a/2", "a0", "b/1", "c"]).await;
    let table: [(&str, &[&str], &[&str]); 4] = [
        ("a/", &["a0", "c"], &["b/"]),
        ("a/1", &["a0", "c"], &["a/", "b/"]),
        ("a/2", &["a0", "c"], &["b/"]),
        ("b/", &["c"], &[]),
    ];
    for (after, objects, prefixes) in table {
        let options = ListOptions {
            delimiter: "/".into(),
            after: Some(after.into()),
            ..all()
        };
        let page = subject.list(&options).await;
        let keys: Vec<_> = page.objects.into_iter().map(|object| object.key).collect();
        assert_eq!(
            (keys.as_slice(), page.common_prefixes.as_slice()),
            (
                objects
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .as_slice(),
                prefixes
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .as_slice(),
            ),
            "{after:?}"
        );
    }
}

/// S3 answers `max-keys=0` with nothing, and no more to come.
pub async fn a_limit_of_zero_is_an_empty_page(subject: &Subject) {
    put_all(subject, &["a", "b"]).await;
    let page = subject.list(&ListOptions::default()).await;
    assert!(page.objects.is_empty() && page.common_prefixes.is_empty() && page.next.is_none());
}

/// Size, `ETag` and time as `head` tells them.
pub async fn listed_objects_carry_their_facts(subject: &Subject) {
    for (key, size) in [("a", 0), ("b/c", 5), ("d", 300_000)] {
        subject.put(key, vec![1; size]).await;
    }
    for object in subject.list(&all()).await.objects {
        let info = subject.head(&object.key).await;
        assert_eq!(
            (object.size_bytes, object.etag, object.modified_at),
            (info.size_bytes, info.etag, info.modified_at)
        );
    }
}

/// Nothing that the store keeps for itself is a key.
pub async fn uploads_under_way_are_not_listed(subject: &Subject) {
    let path = subject.path("dir/k");
    let id = subject
        .store
        .begin_multipart(&path, MultipartOptions::default())
        .await
        .unwrap();
    let body = cloakroom_core::ports::objects::PutBody::from_bytes("part");
    subject.store.put_part(&path, &id, 1, body).await.unwrap();
    assert_eq!(subject.keys().await, [""; 0]);
    let folded = subject
        .list(&ListOptions {
            delimiter: "/".into(),
            ..all()
        })
        .await;
    assert!(folded.common_prefixes.is_empty());
}

/// Random keys, many alike at length, and random questions about them.
pub async fn lists_agree_with_a_model(subject: &Subject) {
    let mut random = Sequence(7);
    let long = "l".repeat(197);
    let units = [
        "a",
        "b",
        "/",
        "/",
        "//",
        ".",
        "%",
        "!",
        "é",
        "-",
        "ab",
        long.as_str(),
        "\u{1}",
        "0",
    ];
    let pick = |random: &mut Sequence, most: usize| {
        let count = random.below(most);
        (0..count)
            .map(|_| units[random.below(units.len())])
            .collect::<String>()
    };
    let mut keys = BTreeSet::new();
    while keys.len() < 250 {
        let key = pick(&mut random, 9);
        if (1..=1_024).contains(&key.len()) && subject.takes(&key) && keys.insert(key.clone()) {
            subject.put(&key, "").await;
        }
    }
    let known: Vec<_> = keys.iter().cloned().collect();
    for _ in 0..400 {
        let part_of_key = |random: &mut Sequence| {
            let key = &known[random.below(known.len())];
            let end = key.floor_char_boundary(random.below(key.len() + 1));
            key[..end].to_owned()
        };
        let options = ListOptions {
            prefix: if random.below(2) == 0 {
                String::new()
            } else {
                part_of_key(&mut random)
            },
            delimiter: ["", "/", "/", "-", "l", "ab", "//"][random.below(7)].to_owned(),
            after: match random.below(4) {
                0 => Some(part_of_key(&mut random)),
                1 => Some(known[random.below(known.len())].clone()),
                _ => None,
            },
            limit: [1, 2, 3, 10, 100, 1_000][random.below(6)],
        };
        let (objects, prefixes, next) = model(&keys, &options);
        let page = subject.list(&options).await;
        let listed: Vec<_> = page.objects.into_iter().map(|object| object.key).collect();
        assert_eq!(listed, objects, "{options:?}");
        assert_eq!(page.common_prefixes, prefixes, "{options:?}");
        assert_eq!(page.next, next, "{options:?}");
    }
}

/// When the last key below a prefix is deleted, the prefix goes with it.
pub async fn directories_left_behind_are_not_prefixes(subject: &Subject) {
    put_all(subject, &["a/b/c/d", "a/x", "e"]).await;
    subject.store.delete(&subject.path("a/b/c/d")).await.unwrap();
    let folded = |prefix: &str| ListOptions {
        prefix: prefix.into(),
        delimiter: "/".into(),
        ..all()
    };
    assert!(subject.list(&folded("a/")).await.common_prefixes.is_empty());
    subject.store.delete(&subject.path("a/x")).await.unwrap();
    assert!(subject.list(&folded("")).await.common_prefixes.is_empty());
}
