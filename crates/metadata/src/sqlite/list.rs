//! Lists of files: one statement for each shape of query, each walking an index that has the order of the list.
//!
//! Open uploads and all other files stand in separate indexes (see the migration), so a query for both is two
//! ordered halves that are merged.

use cloakroom_core::file::{File, FileState};
use cloakroom_core::ports::metadata::{FileQuery, Page};
use rusqlite::types::Value;
use rusqlite::{ToSql, params_from_iter};

use super::failure::Outcome;
use super::row::{self, micros};
use super::search::owner_word;
use super::session::Session;
use super::statements::file_columns;
use crate::scalar::index_form;

/// Most rows of one page.
const PAGE_ROWS_MAX: u32 = 1000;

/// A statement and its parameters.
#[derive(Debug, Default)]
pub(super) struct Select {
    pub(super) sql: String,
    pub(super) parameters: Vec<Value>,
}

impl Select {
    /// The number of a new parameter, as it is written.
    fn bind(&mut self, value: impl Into<Value>) -> String {
        self.parameters.push(value.into());
        format!("?{}", self.parameters.len())
    }

    fn bind_all(&mut self, values: impl IntoIterator<Item = impl Into<Value>>) -> String {
        let numbers: Vec<String> = values.into_iter().map(|value| self.bind(value)).collect();
        numbers.join(", ")
    }
}

/// A page of files.
pub(super) fn files(session: &Session, query: &FileQuery) -> Outcome<Page<File>> {
    let limit = query.limit.clamp(1, PAGE_ROWS_MAX);
    let Some(select) = select(query) else {
        return Ok(Page {
            items: Vec::new(),
            more: false,
        });
    };
    let sql = session.sql.prefix.render(&select.sql);
    let parameters = params_from_iter(select.parameters.iter().map(|value| value as &dyn ToSql));
    Ok(super::page(session.all(&sql, parameters, row::file)?, limit))
}

/// The statement of a query, `None` when nothing can match.
pub(super) fn select(query: &FileQuery) -> Option<Select> {
    // Words come split and folded; what else somebody passes occurs nowhere, and must not become search syntax.
    if query
        .words
        .iter()
        .any(|word| word.is_empty() || !word.chars().all(char::is_alphanumeric))
    {
        return None;
    }
    let mut select = Select::default();
    let limit = i64::from(query.limit.clamp(1, PAGE_ROWS_MAX)) + 1;
    let limit = select.bind(limit);
    let conditions = conditions(query, &mut select)?;
    let sources = sources(query, &mut select);
    let halves: Vec<String> = sources
        .iter()
        .map(|source| {
            let columns = file_columns!();
            format!(
                "SELECT {columns} FROM {source}{conditions} ORDER BY {} LIMIT {limit}",
                order(source)
            )
        })
        .collect();
    select.sql = if let [one] = halves.as_slice() {
        one.clone()
    } else {
        let halves: Vec<String> = halves
            .iter()
            .map(|half| format!("SELECT * FROM ({half})"))
            .collect();
        format!(
            "{} ORDER BY created_at DESC, id DESC LIMIT {limit}",
            halves.join(" UNION ALL ")
        )
    };
    Some(select)
}

/// A list by metadata is in the order of the metadata's own index.
fn order(source: &str) -> &'static str {
    if source.starts_with("{p}_file_metadata") {
        "m.created_at DESC, m.id DESC"
    } else {
        "f.created_at DESC, f.id DESC"
    }
}

/// Where the rows come from, each with its leading condition: the most selective index that fits.
fn sources(query: &FileQuery, select: &mut Select) -> Vec<String> {
    if !query.words.is_empty() {
        let expression = select.bind(match_expression(query));
        return vec![format!(
            "{{p}}_search CROSS JOIN {{p}}_files AS f ON f.seq = {{p}}_search.rowid WHERE {{p}}_search MATCH {expression}"
        )];
    }
    if let Some((name, value)) = query.metadata.first() {
        let (name, value) = (
            select.bind(name.clone()),
            select.bind(index_form(value).unwrap_or_default()),
        );
        let mut source = format!(
            "{{p}}_file_metadata AS m CROSS JOIN {{p}}_files AS f ON f.seq = m.seq WHERE m.k = {name} AND m.v = {value}"
        );
        if let Some(after) = query.after {
            let (time, id) = (
                select.bind(micros(after.created_at)),
                select.bind(after.id.0.as_bytes().to_vec()),
            );
            source = format!("{source} AND (m.created_at, m.id) < ({time}, {id})");
        }
        return vec![source];
    }
    if query.record.is_some() {
        return vec!["{p}_files AS f INDEXED BY {p}_files_record WHERE f.record_kind IS NOT NULL".to_owned()];
    }
    let may_be =
        |open: bool| query.states.is_empty() || query.states.iter().any(|state| state.is_open() == open);
    let mut sources = Vec::new();
    if may_be(true) {
        let index = if query.owner.is_some() {
            "open_owner"
        } else {
            "open_created"
        };
        sources.push(format!(
            "{{p}}_files AS f INDEXED BY {{p}}_files_{index} WHERE f.open = 1"
        ));
    }
    if may_be(false) {
        let index = match (&query.owner, query.states.len(), &query.collections) {
            (Some(_), ..) => "owner",
            (None, 1, _) => "state",
            (None, _, Some(names)) if names.len() == 1 => "collection",
            _ => "created",
        };
        sources.push(format!(
            "{{p}}_files AS f INDEXED BY {{p}}_files_{index} WHERE f.open = 0"
        ));
    }
    sources
}

/// Every condition but the source's own, each beginning with `AND`; `None` when one cannot be met.
fn conditions(query: &FileQuery, select: &mut Select) -> Option<String> {
    let mut all = String::new();
    let mut and = |condition: String| {
        all.push_str(" AND ");
        all.push_str(&condition);
    };
    if let Some(owner) = &query.owner {
        and(format!("f.owner = {}", select.bind(owner.clone())));
    }
    match query.collections.as_deref() {
        None => {}
        Some([]) => return None,
        Some([name]) => and(format!("f.collection = {}", select.bind(name.clone()))),
        Some(names) => and(format!(
            "f.collection IN ({})",
            select.bind_all(names.iter().cloned())
        )),
    }
    match query.states.as_slice() {
        [] => {}
        [state] => and(format!("f.state = {}", select.bind(state.as_str().to_owned()))),
        states => {
            let names = states.iter().map(|state: &FileState| state.as_str().to_owned());
            and(format!("f.state IN ({})", select.bind_all(names)));
        }
    }
    if let Some(record) = &query.record {
        let (kind, id) = (
            select.bind(record.kind().to_owned()),
            select.bind(record.id().to_owned()),
        );
        and(format!("f.record_kind = {kind} AND f.record_id = {id}"));
    }
    if let Some(pattern) = query.content_type.as_deref().map(str::to_ascii_lowercase)
        && pattern != "*/*"
    {
        let column = "coalesce(f.verified_content_type, f.declared_content_type)";
        match pattern.strip_suffix('*').filter(|kind| kind.ends_with('/')) {
            // `0` follows `/`, so this is every text that begins with `image/`.
            Some(kind) => {
                let end = format!("{}0", kind.trim_end_matches('/'));
                let (from, to) = (select.bind(kind.to_owned()), select.bind(end));
                and(format!("{column} >= {from} AND {column} < {to}"));
            }
            None => and(format!("{column} = {}", select.bind(pattern))),
        }
    }
    for (name, value) in &query.metadata {
        // Lists and objects have no index form; nothing equals them.
        let (name, value) = (select.bind(name.clone()), select.bind(index_form(value)?));
        and(format!(
            "EXISTS (SELECT 1 FROM {{p}}_file_metadata AS o WHERE o.k = {name} AND o.v = {value} \
             AND o.created_at = f.created_at AND o.id = f.id)"
        ));
    }
    if let Some(from) = query.created_from {
        and(format!("f.created_at >= {}", select.bind(micros(from))));
    }
    if let Some(before) = query.created_before {
        and(format!("f.created_at < {}", select.bind(micros(before))));
    }
    if let Some(after) = query.after {
        let (time, id) = (
            select.bind(micros(after.created_at)),
            select.bind(after.id.0.as_bytes().to_vec()),
        );
        and(format!("(f.created_at, f.id) < ({time}, {id})"));
    }
    Some(all)
}

/// All words must occur, the last one as a beginning; the owner is one more word. Quotes keep `OR` and `NEAR`
/// words; nothing is to be escaped in letters and digits.
fn match_expression(query: &FileQuery) -> String {
    let mut parts: Vec<String> = query
        .words
        .iter()
        .map(|word| format!("words : \"{word}\""))
        .collect();
    if let Some(last) = parts.last_mut() {
        last.push('*');
    }
    if let Some(owner) = &query.owner {
        parts.push(format!("owner : \"{}\"", owner_word(owner)));
    }
    parts.join(" AND ")
}

#[cfg(test)]
mod tests {
    use cloakroom_core::id::FileId;
    use cloakroom_core::ports::metadata::Cursor;
    use cloakroom_core::record::RecordKey;
    use jiff::Timestamp;
    use serde_json::json;

    use super::super::plan::tests::{database, plan};
    use super::*;

    fn shapes() -> Vec<(&'static str, FileQuery)> {
        let any = FileQuery::default;
        let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        let metadata = |count: usize| (0..count).map(|n| (format!("k{n}"), json!(n))).collect();
        let states = |states: &[FileState]| states.to_vec();
        vec![
            ("any", any()),
            (
                "collection",
                FileQuery {
                    collections: names(&["a"]),
                    ..any()
                },
            ),
            (
                "collections",
                FileQuery {
                    collections: names(&["a", "b"]),
                    ..any()
                },
            ),
            (
                "state",
                FileQuery {
                    states: states(&[FileState::Failed]),
                    ..any()
                },
            ),
            (
                "open state",
                FileQuery {
                    states: states(&[FileState::Pending]),
                    ..any()
                },
            ),
            (
                "states",
                FileQuery {
                    states: states(&[FileState::Failed, FileState::Pending]),
                    ..any()
                },
            ),
            (
                "record",
                FileQuery {
                    record: RecordKey::new("message", "1").ok(),
                    ..any()
                },
            ),
            (
                "type",
                FileQuery {
                    content_type: Some("image/*".to_owned()),
                    ..any()
                },
            ),
            (
                "times",
                FileQuery {
                    created_from: Some(Timestamp::UNIX_EPOCH),
                    created_before: Some(Timestamp::MAX),
                    ..any()
                },
            ),
            (
                "metadata",
                FileQuery {
                    metadata: metadata(1),
                    ..any()
                },
            ),
            (
                "two fields",
                FileQuery {
                    metadata: metadata(2),
                    ..any()
                },
            ),
            (
                "words",
                FileQuery {
                    words: vec!["a".to_owned(), "b".to_owned()],
                    ..any()
                },
            ),
            (
                "words and metadata",
                FileQuery {
                    words: vec!["a".to_owned()],
                    metadata: metadata(1),
                    ..any()
                },
            ),
        ]
    }

    /// With and without an owner, on the first and on a later page: rows come from an index, in its order.
    #[test]
    fn every_shape_of_query_walks_an_index() {
        let (_directory, session) = database();
        let after = Some(Cursor {
            created_at: Timestamp::UNIX_EPOCH,
            id: FileId(uuid::Uuid::nil()),
        });
        for (what, query) in shapes() {
            for owner in [None, Some("ann".to_owned())] {
                for after in [None, after] {
                    let query = FileQuery {
                        owner: owner.clone(),
                        after,
                        limit: 10,
                        ..query.clone()
                    };
                    let select = select(&query).unwrap();
                    let plan = plan(&session, &session.sql.prefix.render(&select.sql));
                    let text = format!("{what}, {owner:?}, {after:?}: {plan:#?}");
                    let whole_table = |step: &String| {
                        step.starts_with("SCAN")
                            && !["INDEX", "(subquery", "VIRTUAL TABLE"]
                                .iter()
                                .any(|source| step.contains(source))
                    };
                    assert!(!plan.iter().any(whole_table), "{text}");
                    // Only matches of a search are sorted; the halves of a page, at most, are merged.
                    let sorts = plan.windows(2).any(|steps| {
                        steps[1].contains("TEMP B-TREE") && !steps[0].starts_with("SCAN (subquery")
                    });
                    assert_eq!(sorts, !query.words.is_empty(), "{text}");
                }
            }
        }
    }
}
