//! The objects: bucket by bucket in the order of their keys, several at a time.

use std::collections::BTreeMap;

use cloakroom_core::ports::objects::{ListedObject, ObjectError, ObjectPath, ObjectStore};
use futures_util::{StreamExt as _, stream};

use super::buckets::BucketNames;
use super::error::ImportError;
use super::index::Index;
use super::place::Place;
use super::report::{Damage, Report};
use super::source::Source;
use super::target::Target;
use crate::commands::transfer::display::Display;
use crate::commands::transfer::{Transfer, TransferError, Transferred, listing};

/// Objects after which the place is remembered.
const SAVE_EVERY: usize = 100;
/// Damaged objects after which something larger is wrong.
const DAMAGED_MAX: usize = 1_000;

/// How much there is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stock {
    pub(super) objects: u64,
    pub(super) bytes: u64,
}

/// A page of a bucket.
pub(super) async fn page(
    store: &dyn ObjectStore,
    bucket: &str,
    after: Option<String>,
) -> Result<(Vec<ListedObject>, Option<String>), ImportError> {
    listing::page(store, bucket, after)
        .await
        .map_err(ImportError::objects(format!("list the bucket {bucket}")))
}

/// Lists everything, and notes in the index what is there.
pub(super) async fn take_stock(source: &Source, index: &mut Index) -> Result<Stock, ImportError> {
    let mut stock = Stock::default();
    for bucket in source.buckets() {
        let mut after = None;
        loop {
            let (objects, next) = page(source.objects(), bucket, after).await?;
            for object in &objects {
                index.saw(bucket, &object.key);
                stock.objects += 1;
                stock.bytes += object.size_bytes;
            }
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
    }
    Ok(stock)
}

/// Moves objects.
pub(super) struct ObjectMover<'a> {
    pub(super) source: &'a Source,
    pub(super) target: &'a Target,
    pub(super) names: &'a BucketNames,
    pub(super) jobs: usize,
    pub(super) display: &'a Display,
}

impl ObjectMover<'_> {
    /// Moves every object that is not there yet.
    pub(super) async fn run(
        &self,
        index: &Index,
        stock: &Stock,
        place: &mut Place,
        report: &mut Report,
    ) -> Result<(), ImportError> {
        self.display.phase("objects", Some(stock.bytes));
        for bucket in self.source.buckets() {
            self.make_bucket(self.names.new_name(bucket)).await?;
            let mut after = None;
            loop {
                let (objects, next) = page(self.source.objects(), bucket, after.clone()).await?;
                self.move_page(bucket, after, objects, index, place, report)
                    .await?;
                match next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
        }
        place.save(self.target.metadata()).await
    }

    async fn make_bucket(&self, name: &str) -> Result<(), ImportError> {
        match self.target.objects().bucket(name).await {
            Ok(_) => Ok(()),
            Err(ObjectError::NoSuchBucket(_)) => match self.target.objects().create_bucket(name).await {
                Ok(()) | Err(ObjectError::BucketExists) => Ok(()),
                Err(error) => Err(bucket_error(name, error)),
            },
            Err(error) => Err(bucket_error(name, error)),
        }
    }

    async fn move_page(
        &self,
        bucket: &str,
        after: Option<String>,
        objects: Vec<ListedObject>,
        index: &Index,
        place: &mut Place,
        report: &mut Report,
    ) -> Result<(), ImportError> {
        let (past, objects): (Vec<_>, Vec<_>) = objects
            .into_iter()
            .partition(|object| place.is_past(bucket, &object.key));
        for object in past {
            self.display.advance(object.size_bytes);
            report.objects.verified_before += 1;
        }
        let Some(last) = objects.last() else {
            return Ok(());
        };
        let there = self.there(bucket, after, &last.key).await?;
        let transfers = objects.iter().map(|object| {
            let transfer = Transfer {
                source: self.source.objects(),
                target: self.target.objects(),
                from: ObjectPath::new(bucket, &object.key),
                to: ObjectPath::new(self.names.new_name(bucket), &object.key),
                expected: index.expected(bucket, &object.key),
                there_bytes: there.get(&object.key).copied(),
                display: self.display,
            };
            async move { (object, transfer.run().await) }
        });
        // In order, so that one key says how far everything is.
        let mut transfers = stream::iter(transfers).buffered(self.jobs);
        let mut since_saved = 0;
        while let Some((object, outcome)) = transfers.next().await {
            let here = (bucket.to_owned(), object.key.clone());
            place.damaged.retain(|damaged| *damaged != here);
            match outcome {
                Ok(Transferred::Sent) => {
                    report.objects.sent += 1;
                    report.objects.sent_bytes += object.size_bytes;
                }
                Ok(Transferred::WasThere) => report.objects.were_there += 1,
                Err(TransferError::Damaged(reason)) => {
                    self.display.note(&format!("{bucket}/{}: {reason}", object.key));
                    report.damaged.push(Damage {
                        bucket: bucket.to_owned(),
                        key: object.key.clone(),
                        reason,
                    });
                    place.damaged.push(here.clone());
                }
                Err(TransferError::Store(error)) => {
                    place.save(self.target.metadata()).await?;
                    return Err(ImportError::objects(format!("move {bucket}/{}", object.key))(
                        error,
                    ));
                }
            }
            if place.object.as_ref().is_none_or(|object| *object < here) {
                place.object = Some(here);
            }
            since_saved += 1;
            if since_saved == SAVE_EVERY {
                place.save(self.target.metadata()).await?;
                since_saved = 0;
            }
            if place.damaged.len() > DAMAGED_MAX {
                place.save(self.target.metadata()).await?;
                return Err(ImportError::Refused(format!(
                    "more than {DAMAGED_MAX} objects of the embedded instance are damaged: look at its disk first"
                )));
            }
        }
        place.save(self.target.metadata()).await
    }

    /// Sizes of what the target has among the keys of a page.
    async fn there(
        &self,
        bucket: &str,
        mut after: Option<String>,
        last: &str,
    ) -> Result<BTreeMap<String, u64>, ImportError> {
        let mut there = BTreeMap::new();
        loop {
            let (objects, next) = page(self.target.objects(), self.names.new_name(bucket), after).await?;
            let beyond = objects.last().is_some_and(|object| object.key.as_str() >= last);
            there.extend(
                objects
                    .into_iter()
                    .filter(|object| object.key.as_str() <= last)
                    .map(|object| (object.key, object.size_bytes)),
            );
            match next {
                Some(next) if !beyond => after = Some(next),
                _ => return Ok(there),
            }
        }
    }
}

fn bucket_error(name: &str, error: ObjectError) -> ImportError {
    ImportError::Refused(format!(
        "cannot use the bucket {name} in the target: {error}. With --bucket {name}=OTHER its objects go into another one"
    ))
}
