//! Lists of files: one statement for each shape of query, in which every condition can be answered by an index.
//!
//! Open uploads and all other files stand in separate indexes (see the migration), so a query for both is two ordered
//! halves that are merged. Which index is walked is the planner's choice, for these very values: a word that most
//! files have is met while walking the list in order, a rare one is looked up. So the statements are not prepared.

use cloakroom_core::JsonObject;
use cloakroom_core::file::{File, FileState};
use cloakroom_core::ports::metadata::{Cursor, FileQuery, Page};
use tokio_postgres::types::{ToSql, Type};

use super::connection::Connection;
use super::failure::Outcome;
use super::row;
use super::statements::{file_columns, later_file_columns};
use super::values::{Json, Text, Time, json_text};
use crate::scalar::index_form;

/// Most rows of one page.
const PAGE_ROWS_MAX: u32 = 1000;

/// A statement and its parameters.
#[derive(Default)]
pub(super) struct Select<'a> {
    pub(super) sql: String,
    pub(super) parameters: Vec<(row::Value<'a>, Type)>,
}

impl<'a> Select<'a> {
    /// The number of a new parameter, as it is written.
    fn bind(&mut self, value: impl ToSql + Sync + Send + 'a, ty: Type) -> String {
        self.parameters.push((Box::new(value), ty));
        format!("${}", self.parameters.len())
    }

    /// The parameters as the driver takes them.
    pub(super) fn parameters(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        self.parameters
            .iter()
            .map(|(value, ty)| -> (&(dyn ToSql + Sync), Type) { (&**value, ty.clone()) })
            .collect()
    }
}

/// A page of files.
pub(super) async fn files(connection: Connection, query: &FileQuery) -> Outcome<Page<File>> {
    let limit = query.limit.clamp(1, PAGE_ROWS_MAX);
    let Some(select) = select(query)? else {
        return Ok(Page {
            items: Vec::new(),
            more: false,
        });
    };
    let sql = connection.sql().prefix.render(&select.sql);
    let found = connection.query_unprepared(&sql, &select.parameters()).await?;
    Ok(super::page(row::all(&found, row::file)?, limit))
}

/// The statement of a query, `None` when nothing can match.
pub(super) fn select(query: &FileQuery) -> Outcome<Option<Select<'_>>> {
    // Words come split and folded; what else somebody passes occurs nowhere, and must not become search syntax.
    if query
        .words
        .iter()
        .any(|word| word.is_empty() || !word.chars().all(char::is_alphanumeric))
    {
        return Ok(None);
    }
    let mut select = Select::default();
    let Some(conditions) = conditions(query, &mut select)? else {
        return Ok(None);
    };
    let limit = query.limit.clamp(1, PAGE_ROWS_MAX) + 1;
    let columns = concat!(file_columns!(), ", ", later_file_columns!());
    let halves: Vec<String> = sources(query)
        .into_iter()
        .map(|source| {
            format!(
                "SELECT {columns} FROM {{p}}_files AS f WHERE {source}{conditions} \
                 ORDER BY f.created_at DESC, f.id DESC LIMIT {limit}"
            )
        })
        .collect();
    select.sql = if let [one] = halves.as_slice() {
        one.clone()
    } else {
        format!(
            "({}) ORDER BY created_at DESC, id DESC LIMIT {limit}",
            halves.join(") UNION ALL (")
        )
    };
    Ok(Some(select))
}

/// The leading conditions: which of the indexes can be walked.
fn sources(query: &FileQuery) -> Vec<&'static str> {
    // Open uploads are neither searched by words nor by metadata.
    if !query.words.is_empty() || !query.metadata.is_empty() {
        return vec!["NOT f.open"];
    }
    if query.record.is_some() {
        return vec!["f.record_kind IS NOT NULL"];
    }
    let may_be =
        |open: bool| query.states.is_empty() || query.states.iter().any(|state| state.is_open() == open);
    let mut sources = Vec::new();
    if may_be(true) {
        sources.push("f.open");
    }
    if may_be(false) {
        sources.push("NOT f.open");
    }
    sources
}

/// Every condition but the source's own, each beginning with `AND`; `None` when one cannot be met.
fn conditions<'a>(query: &'a FileQuery, select: &mut Select<'a>) -> Outcome<Option<String>> {
    let mut all = Vec::new();
    let mut and = |condition: String| all.extend([" AND ".to_owned(), condition]);
    if let Some(owner) = &query.owner {
        and(format!("f.owner = {}", select.bind(Text(owner), Type::TEXT)));
    }
    match query.collections.as_deref() {
        None => {}
        Some([]) => return Ok(None),
        Some([name]) => and(format!("f.collection = {}", select.bind(Text(name), Type::TEXT))),
        Some(names) => {
            let names: Vec<Text<'_>> = names.iter().map(|name| Text(name)).collect();
            and(format!(
                "f.collection = ANY({})",
                select.bind(names, Type::TEXT_ARRAY)
            ));
        }
    }
    match query.states.as_slice() {
        [] => {}
        [state] => and(format!("f.state = {}", select.bind(state.as_str(), Type::TEXT))),
        states => {
            let names: Vec<&str> = states.iter().map(|state: &FileState| state.as_str()).collect();
            and(format!("f.state = ANY({})", select.bind(names, Type::TEXT_ARRAY)));
        }
    }
    if let Some(record) = &query.record {
        let (kind, id) = (
            select.bind(record.kind(), Type::TEXT),
            select.bind(Text(record.id()), Type::TEXT),
        );
        and(format!("f.record_kind = {kind} AND f.record_id = {id}"));
    }
    if let Some(pattern) = query.content_type.as_deref().map(str::to_ascii_lowercase)
        && pattern != "*/*"
    {
        and(of_type(&pattern, select));
    }
    if !query.words.is_empty() {
        let words = select.bind(search_query(&query.words), Type::TEXT);
        and(format!("f.words @@ {words}::tsquery"));
    }
    if !query.metadata.is_empty() {
        let Some(wanted) = wanted_metadata(query) else {
            return Ok(None);
        };
        let wanted = select.bind(Json(json_text(&wanted)?), Type::JSONB);
        and(format!("f.metadata::jsonb @> {wanted}"));
    }
    if let Some(from) = query.created_from {
        and(format!(
            "f.created_at >= {}",
            select.bind(Time(from), Type::TIMESTAMPTZ)
        ));
    }
    if let Some(before) = query.created_before {
        and(format!(
            "f.created_at < {}",
            select.bind(Time(before), Type::TIMESTAMPTZ)
        ));
    }
    if let Some(Cursor { created_at, id }) = query.after {
        let (time, id) = (
            select.bind(Time(created_at), Type::TIMESTAMPTZ),
            select.bind(id.0, Type::UUID),
        );
        and(format!("(f.created_at, f.id) < ({time}, {id})"));
    }
    Ok(Some(all.concat()))
}

fn of_type(pattern: &str, select: &mut Select<'_>) -> String {
    let column = "coalesce(f.verified_content_type, f.declared_content_type)";
    match pattern.strip_suffix('*').filter(|kind| kind.ends_with('/')) {
        // `0` follows `/`, so this is every text that begins with `image/`.
        Some(kind) => {
            let end = format!("{}0", kind.trim_end_matches('/'));
            let (from, to) = (select.bind_text(kind.to_owned()), select.bind_text(end));
            format!("{column} >= {from} AND {column} < {to}")
        }
        None => format!("{column} = {}", select.bind_text(pattern.to_owned())),
    }
}

impl Select<'_> {
    /// Binds text that was made for this statement.
    fn bind_text(&mut self, text: String) -> String {
        // A media type has no NUL; a pattern may have anything, and what has one matches nothing.
        self.bind(text.replace('\0', "\u{fffd}"), Type::TEXT)
    }
}

/// All words must occur, the last one as a beginning. Quotes keep everything a word; nothing is to be escaped in
/// letters and digits.
fn search_query(words: &[String]) -> String {
    let mut parts: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    if let Some(last) = parts.last_mut() {
        last.push_str(":*");
    }
    parts.join(" & ")
}

/// The fields that must be there, `None` when none can match: two values of one field, or a list or an object, which
/// nothing equals.
fn wanted_metadata(query: &FileQuery) -> Option<JsonObject> {
    let mut wanted = JsonObject::new();
    for (name, value) in &query.metadata {
        let form = index_form(value)?;
        match wanted.get(name) {
            Some(other) if index_form(other).as_ref() != Some(&form) => return None,
            _ => wanted.insert(name.clone(), value.clone()),
        };
    }
    Some(wanted)
}
