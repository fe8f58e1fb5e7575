//! The group: plain inserts, and the statement that writes all of them.

use std::collections::{HashMap, HashSet};

use cloakroom_core::event::EventKind;
use cloakroom_core::file::FileState;
use cloakroom_core::id::FileId;
use cloakroom_core::ports::metadata::{NewFile, Result};
use cloakroom_core::record::{Record, RecordKey};
use futures_util::future::join;
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::super::connection::{Connection, together};
use super::super::failure::Outcome;
use super::super::pool::{AtOnce, Attempt, Pool, Unknown, Verdict};
use super::super::row::{self, references};
use super::super::statements::Prepared;
use super::super::values::{Json, Text, Time, integer, json_text};
use crate::row::Columns as _;

/// An insert in the form that the group writes.
pub(super) struct Plain {
    pub(super) new: Box<NewFile>,
    metadata: String,
    facts: String,
    data: String,
    version: i64,
    declared_size: Option<i64>,
    part_size: Option<i64>,
    reserved: i64,
    event_version: i64,
}

impl Plain {
    /// Gives back what only the careful way can answer: settled files, and numbers that no column holds.
    pub(super) fn of(new: NewFile) -> std::result::Result<Self, Box<NewFile>> {
        let new = Box::new(new);
        let (file, upload) = (&new.file, &new.upload);
        let settled = !file.state.is_open()
            || file.staged.is_some()
            || file.verified.is_some()
            || file.error.is_some()
            || file.trash.is_some()
            || file.hold.is_some()
            || file.unarchived_at.is_some()
            || file.uploaded_at.is_some()
            || file.confirmed_at.is_some()
            || file.processed_at.is_some()
            || new.event.file_id != file.id;
        let values = (
            [&file.metadata, &file.facts, &new.event.data].map(json_text),
            [file.version, new.event.version, upload.reserved_bytes].map(integer),
            [file.declared.size_bytes, upload.part_size_bytes].map(|size| size.map(integer).transpose()),
        );
        match values {
            (
                [Ok(metadata), Ok(facts), Ok(data)],
                [Ok(version), Ok(event_version), Ok(reserved)],
                [Ok(declared_size), Ok(part_size)],
            ) if !settled => Ok(Self {
                new,
                metadata,
                facts,
                data,
                version,
                declared_size,
                part_size,
                reserved,
                event_version,
            }),
            _ => Err(new),
        }
    }
}
/// What became of a group.
pub(super) enum Grouped {
    /// Committed, but for these, by their place in the group: their ids were known.
    Committed(HashSet<usize>),
    /// Rolled back because of these.
    Hindered(HashSet<usize>),
    /// Nobody knows whether it was committed.
    Unknown,
}

/// Commits a group, or finds out who hinders it.
pub(super) async fn commit(pool: &Pool, plains: &[&Plain]) -> Result<Grouped> {
    // What a quota or a record's owner forbids is known only when it is written, and must not be committed then.
    let may_be_refused = plains
        .iter()
        .any(|plain| plain.new.quota_bytes.is_some() || plain.new.record.is_some());
    if !may_be_refused {
        match pool
            .write_at_once("insert_group", |c| write_at_once(c, plains))
            .await?
        {
            AtOnce::Done(known) => return Ok(Grouped::Committed(known)),
            AtOnce::Unknown => return Ok(Grouped::Unknown),
            AtOnce::Refused => {}
        }
    }
    let work = |c, attempt| write(c, plains, attempt);
    pool.decide("insert_group", Unknown::RunAgain, Attempt::default(), work)
        .await
}

/// Writes a group in one statement, which is a transaction by itself; returns who was left out.
async fn write_at_once(connection: Connection, plains: &[&Plain]) -> Outcome<HashSet<usize>> {
    let sql = connection.sql();
    // Keys make ids that may be known. Without any, a known id is an error of this statement.
    let keyed = plains
        .iter()
        .any(|plain| plain.new.upload.request_digest.is_some());
    let statement = match (keyed, connection.has_outbox()) {
        (false, false) => &sql.sign_fresh,
        (false, true) => &sql.sign_fresh_queued,
        (true, false) => &sql.sign_known,
        (true, true) => &sql.sign_known_queued,
    };
    let rows = connection.query(statement, &references(&columns(plains))).await?;
    Ok(Signed::of(&rows)?.places(plains))
}

/// Writes a group in a transaction, or finds out who hinders it.
async fn write(connection: Connection, plains: &[&Plain], attempt: Attempt) -> Outcome<Verdict<Grouped>> {
    if attempt.may_stand {
        return Ok(Verdict::Rollback(Grouped::Unknown));
    }
    let news: Vec<&NewFile> = plains.iter().map(|plain| &*plain.new).collect();
    let statement = known_statement(&connection);
    let sql = connection.sql();
    let mut needed = vec![statement];
    if news.iter().any(|new| new.record.is_some()) {
        needed.extend([&sql.insert_records, &sql.record_owners]);
    }
    connection.prepare(&needed).await?;
    let columns = columns(plains);
    let columns = references(&columns);
    // Usage comes last, so that rows of owners are locked as shortly as may be.
    let (owned, signed) = join(
        record_owners(&connection, &news),
        connection.query(statement, &columns),
    )
    .await;
    let rows = together([owned, signed])?;

    let signed = Signed::of(&rows[1])?;
    let mut hindered = signed.places(plains);
    let mut owned = HashMap::new();
    for row in &rows[0] {
        owned.insert((row.text(0)?, row.text(1)?), row.text(2)?);
    }
    for (place, new) in news.iter().enumerate() {
        let too_much = new.quota_bytes.is_some_and(|quota| {
            signed
                .total
                .get(&new.file.owner)
                .is_none_or(|total| *total > quota)
        });
        let strange = new.record.as_ref().is_some_and(|record| {
            let key = (record.key.kind().to_owned(), record.key.id().to_owned());
            owned.get(&key) != Some(&record.owner)
        });
        if too_much || strange {
            hindered.insert(place);
        }
    }
    Ok(if hindered.is_empty() {
        Verdict::Commit(Grouped::Committed(HashSet::new()))
    } else {
        Verdict::Rollback(Grouped::Hindered(hindered))
    })
}

fn known_statement(connection: &Connection) -> &Prepared {
    let sql = connection.sql();
    if connection.has_outbox() {
        &sql.sign_known_queued
    } else {
        &sql.sign_known
    }
}

/// What the statement says.
struct Signed {
    /// Bytes that each owner has reserved and stored now.
    total: HashMap<String, u64>,
    left_out: HashSet<FileId>,
}

impl Signed {
    fn of(rows: &[Row]) -> Outcome<Self> {
        let (mut total, mut left_out) = (HashMap::new(), HashSet::new());
        for row in rows {
            if let Some(id) = row.try_get(0)? {
                left_out.insert(FileId(id));
            } else {
                total.insert(row.text(1)?, row.size(2)?.saturating_add(row.size(3)?));
            }
        }
        Ok(Self { total, left_out })
    }

    fn places(&self, plains: &[&Plain]) -> HashSet<usize> {
        if self.left_out.is_empty() {
            return HashSet::new();
        }
        let is_out = |place: &usize| self.left_out.contains(&plains[*place].new.file.id);
        (0..plains.len()).filter(is_out).collect()
    }
}

/// The values of a column, one of each row.
fn each<'a, T>(plains: &'a [&'a Plain], value: impl Fn(&'a Plain) -> T) -> row::Value<'a>
where
    T: ToSql + Sync + Send + 'a,
{
    Box::new(plains.iter().map(|plain| value(plain)).collect::<Vec<_>>())
}

/// The values of a column in which most rows have none, or the usual one: empty where all do.
fn rare<'a, T>(plains: &'a [&'a Plain], value: impl Fn(&'a Plain) -> Option<T>) -> row::Value<'a>
where
    T: ToSql + Sync + Send + 'a,
{
    if plains.iter().all(|plain| value(plain).is_none()) {
        return Box::new(Vec::<Option<T>>::new());
    }
    each(plains, value)
}

/// The parameters of the statement, in its order.
fn columns<'a>(plains: &'a [&'a Plain]) -> Vec<row::Value<'a>> {
    let p = plains;
    let state = |state: FileState| (state != FileState::Pending).then(|| state.as_str());
    vec![
        each(p, |p| p.new.file.id.0),
        each(p, |p| Text(&p.new.file.owner)),
        each(p, |p| Text(&p.new.file.created_by_username)),
        rare(p, |p| p.new.file.created_by_full_name.as_deref().map(Text)),
        each(p, |p| Text(&p.new.file.collection)),
        each(p, |p| Text(&p.new.file.bucket)),
        rare(p, |p| state(p.new.file.state)),
        rare(p, |p| (p.version != 1).then_some(p.version)),
        rare(p, |p| {
            (p.new.file.epoch != 0).then(|| i64::from(p.new.file.epoch))
        }),
        rare(p, |p| p.new.file.record.as_ref().map(RecordKey::kind)),
        rare(p, |p| p.new.file.record.as_ref().map(|key| Text(key.id()))),
        each(p, |p| Text(&p.new.file.filename)),
        rare(p, |p| p.new.file.description.as_deref().map(Text)),
        rare(p, |p| object(&p.metadata)),
        each(p, |p| p.new.file.declared.content_type.as_str()),
        rare(p, |p| p.declared_size),
        rare(p, |p| {
            p.new.file.declared.sha256.as_ref().map(|digest| &digest.0[..])
        }),
        each(p, |p| Text(&p.new.file.key)),
        rare(p, |p| object(&p.facts)),
        each(p, |p| Time(p.new.file.created_at)),
        rare(p, |p| time(p.new.file.updated_at, p)),
        each(p, |p| p.new.upload.method.as_str()),
        each(p, |p| Text(&p.new.upload.staging_key)),
        each(p, |p| Time(p.new.upload.expires_at)),
        rare(p, |p| p.new.upload.multipart_id.as_deref().map(Text)),
        rare(p, |p| p.part_size),
        rare(p, |p| {
            p.new.upload.request_digest.as_ref().map(|digest| &digest.0[..])
        }),
        each(p, |p| p.reserved),
        each(p, |p| p.new.event.id.0),
        rare(p, |p| {
            (p.new.event.kind != EventKind::Signed).then(|| p.new.event.kind.as_str())
        }),
        rare(p, |p| state(p.new.event.state)),
        rare(p, |p| {
            (p.new.event.actor != p.new.file.owner).then(|| Text(&p.new.event.actor))
        }),
        each(p, |p| Json(p.data.as_str())),
        rare(p, |p| (p.event_version != 1).then_some(p.event_version)),
        rare(p, |p| time(p.new.event.at, p)),
    ]
}

fn object(text: &str) -> Option<Json<&str>> {
    (text != "{}").then_some(Json(text))
}

/// A time, unless it is that of the signature.
fn time(time: Timestamp, plain: &Plain) -> Option<Time> {
    (time != plain.new.file.created_at).then_some(Time(time))
}

/// One array for each column.
macro_rules! columns {
    ($rows:expr, |$row:ident| $($value:expr),+ $(,)?) => {
        [$(Box::new($rows.iter().map(|$row| $value).collect::<Vec<_>>()) as row::Value<'_>,)+]
    };
}

/// Makes the records that are not there; returns kind, id and owner of each.
async fn record_owners(connection: &Connection, news: &[&NewFile]) -> Outcome<Vec<Row>> {
    struct Linked<'a> {
        record: &'a Record,
        payload: String,
        meta: String,
        version: i64,
    }
    let linked = news
        .iter()
        .filter_map(|new| new.record.as_ref())
        .map(|record| {
            Ok(Linked {
                record,
                payload: json_text(&record.payload)?,
                meta: json_text(&record.meta)?,
                version: integer(record.version)?,
            })
        })
        .collect::<Outcome<Vec<_>>>()?;
    if linked.is_empty() {
        return Ok(Vec::new());
    }
    let columns = columns!(
        linked,
        |l| l.record.key.kind(),
        Text(l.record.key.id()),
        Text(&l.record.owner),
        l.record.parent.as_ref().map(RecordKey::kind),
        l.record.parent.as_ref().map(|key| Text(key.id())),
        l.payload.as_str(),
        l.meta.as_str(),
        l.version,
        Time(l.record.created_at),
        Time(l.record.updated_at),
    );
    let sql = connection.sql();
    let all = references(&columns);
    let (made, owners) = join(
        connection.query(&sql.insert_records, &all),
        connection.query(&sql.record_owners, &all[..2]),
    )
    .await;
    Ok(together([made, owners])?.pop().unwrap_or_default())
}
