//! What an operation works with: one connection, the statements, and the hints to give once it is committed.

use std::cell::RefCell;
use std::sync::Arc;

use cloakroom_core::ports::signals::Topic;
use rusqlite::{CachedStatement, Connection, Params, Row};

use super::failure::Outcome;
use super::statements::Statements;

/// One connection with everything an operation needs. Lives on one thread.
pub(super) struct Session {
    pub(super) connection: Connection,
    pub(super) sql: Arc<Statements>,
    /// Whether events are to wait for their delivery.
    pub(super) outbox: bool,
    hints: RefCell<Vec<Topic>>,
}

impl Session {
    pub(super) fn new(connection: Connection, sql: Arc<Statements>, outbox: bool) -> Self {
        Self {
            connection,
            sql,
            outbox,
            hints: RefCell::new(Vec::new()),
        }
    }

    /// A statement, compiled on first use.
    pub(super) fn statement(&self, sql: &str) -> Outcome<CachedStatement<'_>> {
        Ok(self.connection.prepare_cached(sql)?)
    }

    /// Runs a statement; returns how many rows it changed.
    pub(super) fn execute(&self, sql: &str, parameters: impl Params) -> Outcome<usize> {
        Ok(self.statement(sql)?.execute(parameters)?)
    }

    /// The first row, if there is one.
    pub(super) fn first<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        read: impl FnOnce(&Row<'_>) -> Outcome<T>,
    ) -> Outcome<Option<T>> {
        let mut statement = self.statement(sql)?;
        let mut rows = statement.query(parameters)?;
        rows.next()?.map(read).transpose()
    }

    /// Whether there is a row.
    pub(super) fn exists(&self, sql: &str, parameters: impl Params) -> Outcome<bool> {
        Ok(self.first(sql, parameters, |_| Ok(()))?.is_some())
    }

    /// Every row.
    pub(super) fn all<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        mut read: impl FnMut(&Row<'_>) -> Outcome<T>,
    ) -> Outcome<Vec<T>> {
        let mut statement = self.statement(sql)?;
        let mut rows = statement.query(parameters)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(read(row)?);
        }
        Ok(found)
    }

    /// Asks for a wake-up, to be given after the commit.
    pub(super) fn hint(&self, topic: Topic) {
        self.hints.borrow_mut().push(topic);
    }

    /// How many hints wait.
    pub(super) fn hint_count(&self) -> usize {
        self.hints.borrow().len()
    }

    /// Forgets the hints of an operation that did not happen.
    pub(super) fn forget_hints(&self, count: usize) {
        self.hints.borrow_mut().truncate(count);
    }

    /// Takes the hints of what was committed.
    pub(super) fn take_hints(&self) -> Vec<Topic> {
        std::mem::take(&mut *self.hints.borrow_mut())
    }
}
