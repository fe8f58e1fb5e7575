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

    /// Counts walk an index from end to end, a claim walks the waiting jobs in order until it has enough, the few
    /// operations that are live and open tickets (latest first) are walked for the one that is wanted, and the few
    /// service tokens and stores are read whole.
    const WALKS: &[&str] = &[
        "count_settled_files",
        "count_open_files",
        "count_jobs",
        "claim_jobs",
        "stored_bytes",
        "tokens",
        "totals",
        "claim_operation",
        "open_until",
        "stores",
    ];

    #[test]
    fn every_fixed_statement_compiles_and_uses_an_index() {
        let (_directory, session) = database();
        let statements = session.sql.all();
        assert!(statements.len() > 50);
        for (name, sql) in statements {
            let plan = plan(&session, sql);
            let scans = plan.iter().any(|step| {
                // `c` are the owners of which usage is counted anew: as many as were asked for.
                let made_up = step.contains("(subquery")
                    || step.contains("VIRTUAL TABLE")
                    || ["SCAN c", "SCAN CONSTANT ROW"].contains(&step.as_str());
                step.starts_with("SCAN") && !made_up
            });
            assert_eq!(scans, WALKS.contains(&name), "{name}: {plan:#?}");
        }
    }

    /// Pages of what may be very long.
    const ORDERED: &[&str] = &[
        "all_files",
        "all_records",
        "retained_files",
        "retained_unlinked_files",
        "operations",
        "claim_operation",
        "findings",
        "garbage",
        "garbage_in_state",
        "audit",
    ];

    #[test]
    fn pages_come_from_an_index_in_its_order() {
        let (_directory, session) = database();
        let all = session.sql.all();
        for name in ORDERED {
            let (_, sql) = all.iter().find(|(found, _)| found == name).unwrap();
            let plan = plan(&session, sql);
            assert!(
                plan.iter().all(|step| !step.contains("TEMP B-TREE")),
                "{name}: {plan:#?}"
            );
        }
    }

    /// What an operator looks for in the log by hand.
    #[test]
    fn the_log_is_searched_by_status_and_by_file() {
        let (_directory, session) = database();
        for (condition, index) in [
            ("status = 'FAILED'", "cloakroom_wal_status"),
            ("file_id = x'00'", "cloakroom_wal_file"),
        ] {
            let sql = format!("SELECT * FROM cloakroom_wal WHERE {condition} ORDER BY started_at");
            let plan = plan(&session, &sql);
            assert!(plan.len() == 1 && plan[0].contains(index), "{plan:#?}");
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
