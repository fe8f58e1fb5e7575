//! How the engine runs the statements: every one compiles, and none walks through a large table.

pub(super) mod tests {
    use tempfile::TempDir;

    use super::super::SqliteOptions;
    use super::super::open::open;
    use super::super::session::Session;

    /// An empty database and its writing session.
    pub(crate) fn database() -> (TempDir, Session) {
        let directory = TempDir::new().unwrap();
        let opened = open(&SqliteOptions::new(directory.path().join("metadata.db"))).unwrap();
        (directory, opened.writer)
    }

    /// The steps of a statement, in the words of `EXPLAIN QUERY PLAN`.
    pub(crate) fn plan(session: &Session, sql: &str) -> Vec<String> {
        let mut statement = session
            .connection
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap();
        let mut rows = statement.raw_query();
        let mut steps = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            steps.push(row.get("detail").unwrap());
        }
        steps
    }

    /// Counts walk an index from end to end, a claim walks the waiting jobs in order until it has enough, and the
    /// few service tokens are read whole.
    const WALKS: &[&str] = &[
        "count_settled_files",
        "count_open_files",
        "count_jobs",
        "claim_jobs",
        "stored_bytes",
        "tokens",
    ];

    #[test]
    fn every_fixed_statement_compiles_and_uses_an_index() {
        let (_directory, session) = database();
        let statements = session.sql.all();
        assert!(statements.len() > 50);
        for (name, sql) in statements {
            let plan = plan(&session, sql);
            let scans = plan.iter().any(|step| {
                step.starts_with("SCAN") && !step.contains("(subquery") && !step.contains("VIRTUAL TABLE")
            });
            assert_eq!(scans, WALKS.contains(&name), "{name}: {plan:#?}");
        }
    }

    #[test]
    fn the_lists_of_jobs_use_an_index() {
        use cloakroom_core::job::JobState;
        let (_directory, session) = database();
        for state in [
            None,
            Some(JobState::Ready),
            Some(JobState::Running),
            Some(JobState::Dead),
        ] {
            let plan = plan(&session, &super::super::jobs::list_sql(&session, state));
            assert!(
                plan.iter().all(|step| !step.starts_with("SCAN")),
                "{state:?}: {plan:#?}"
            );
        }
    }
}
