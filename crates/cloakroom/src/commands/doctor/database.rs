//! The database.

use std::path::Path;
use std::time::Duration;

use cloakroom_metadata::postgres::Diagnosis;
use cloakroom_objects::s3::probe::Verdict;

use super::local::file_system;
use super::report::{Line, Report};
use crate::config::Config;
use crate::config::adapters::Database;
use crate::wire;

/// Longer round trips are felt in every request.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(10);
/// Clocks that differ by more are worth a look.
const SKEW_SECONDS_MAX: i64 = 5;
const RUN_MIGRATE: &str = "run `cloakroom migrate`, or start a server, which does it too";

/// Looks at it.
pub(super) async fn look(config: &Config, report: &mut Report) {
    let settings = &config.settings;
    report.subject("database", settings.database_description().to_string(), false);
    match settings.database() {
        Database::Postgres(url) => {
            let reached = Line::ok("reach", "reached", "the server answers and lets us in", "");
            match wire::diagnose_database(settings, &url).await {
                Ok(found) => {
                    report.add(reached);
                    let near = is_near(url.shown());
                    postgres(&found, near, report);
                }
                Err(error) => report.add(
                    Line {
                        found: error.to_string(),
                        ..reached
                    }
                    .unless(
                        false,
                        Verdict::Fail,
                        "nothing works",
                        "check database.url, the network, and the server's log",
                    ),
                ),
            }
        }
        database @ Database::Sqlite(_) => {
            if let Some(path) = database.sqlite_path(Some(&settings.data_dir)) {
                sqlite(config, &path, report).await;
            }
        }
    }
}

fn postgres(found: &Diagnosis, near: bool, report: &mut Report) {
    let milliseconds = format!("{:.1} ms", found.round_trip.as_secs_f64() * 1000.0);
    report.add(Line::ok(
        "reach",
        "version",
        "its version is one that we know",
        &*found.server_version,
    ));
    report.add(
        Line::ok("reach", "round_trip", "it answers quickly", milliseconds).unless(
            found.round_trip <= ROUND_TRIP_MAX,
            Verdict::Warn,
            "every request waits for several such round trips",
            "move it nearer, or find out what it is busy with",
        ),
    );
    let skew = found.clock_ahead.as_secs();
    report.add(
        Line::ok(
            "reach",
            "clock",
            "its clock and ours agree",
            format!("{skew} s ahead"),
        )
        .unless(
            skew.abs() <= SKEW_SECONDS_MAX,
            Verdict::Warn,
            "leases and deadlines are reckoned with both clocks",
            "let both machines keep time by NTP",
        ),
    );
    let encrypted = if found.is_encrypted { "yes" } else { "no" };
    report.add(
        Line::ok("reach", "encrypted", "the connection is encrypted", encrypted).unless(
            found.is_encrypted || near,
            Verdict::Warn,
            "whoever is in between can read rows and the password's proof",
            "add ?sslmode=verify-full to database.url",
        ),
    );
    schema(found, report);
    durability(found, report);
    let (ours, most, used) = (
        found.connections_ours,
        found.connections_max,
        found.connections_used,
    );
    let line = Line::ok(
        "limits",
        "connections",
        "there are connections enough",
        format!("a process of ours opens up to {ours}; the server takes {most}, {used} are in use"),
    );
    let line = line.unless(
        ours + used <= most,
        Verdict::Warn,
        "under load requests are refused by the server",
        "lower database.pool_size and database.max_overflow, or raise max_connections",
    );
    report.add(line.unless(
        ours <= most,
        Verdict::Fail,
        "under load requests are refused by the server",
        "lower database.pool_size and database.max_overflow, or raise max_connections",
    ));
}

fn schema(found: &Diagnosis, report: &mut Report) {
    let pending = &found.pending_migrations;
    let line = Line::ok(
        "schema",
        "migrations",
        "the schema is the newest",
        pending.join(", "),
    );
    report.add(if found.may_create {
        line.unless(
            pending.is_empty(),
            Verdict::Warn,
            "a server brings it up to date when it starts",
            RUN_MIGRATE,
        )
    } else {
        line.unless(
            pending.is_empty(),
            Verdict::Fail,
            "a server cannot start: this user may not make tables",
            "run `cloakroom migrate` as a user who may, or GRANT CREATE ON SCHEMA",
        )
    });
    report.add(
        Line::ok(
            "schema",
            "privileges",
            "we may read and change our tables",
            found.forbidden_tables.join(", "),
        )
        .unless(
            found.forbidden_tables.is_empty(),
            Verdict::Fail,
            "requests fail",
            "GRANT SELECT, INSERT, UPDATE, DELETE on these tables to this user",
        ),
    );
    report.add(Line::ok("schema", "writable", "it takes writes", "").unless(
        !found.is_read_only,
        Verdict::Fail,
        "nothing can be signed or confirmed: it is a replica, or set to read only",
        "point database.url at the primary (target_session_attrs=read-write chooses it)",
    ));
}

fn durability(found: &Diagnosis, report: &mut Report) {
    let commit = &found.synchronous_commit;
    let note = if commit == "off" {
        "off by default; our sessions turn it on"
    } else {
        commit
    };
    report.add(Line::ok(
        "durability",
        "synchronous_commit",
        "a commit is on the disk when it is answered",
        note,
    ));
    let on = |value| if value { "on" } else { "off" };
    report.add(
        Line::ok("durability", "fsync", "fsync is on", on(found.fsync)).unless(
            found.fsync,
            Verdict::Warn,
            "a crash of the machine can lose confirmed uploads, or the whole database",
            "set fsync = on",
        ),
    );
    report.add(
        Line::ok(
            "durability",
            "full_page_writes",
            "full_page_writes is on",
            on(found.full_page_writes),
        )
        .unless(
            found.full_page_writes,
            Verdict::Warn,
            "a crash of the machine can leave torn pages",
            "set full_page_writes = on",
        ),
    );
}

/// Whether a server is on this machine, where nobody is in between.
fn is_near(address: &str) -> bool {
    let host = address.rsplit_once('@').map_or(address, |(_, host)| host);
    let host = host
        .trim_start_matches("postgresql://")
        .trim_start_matches("postgres://");
    ["127.", "localhost", "[::1]", "/"]
        .iter()
        .any(|near| host.starts_with(near))
}

async fn sqlite(config: &Config, path: &Path, report: &mut Report) {
    let settings = &config.settings;
    let size = std::fs::metadata(path).map(|found| format!("{} bytes", found.len()));
    report.add(Line::ok(
        "file",
        "file",
        "the file is there, or will be made",
        size.unwrap_or_else(|_| "it is made at the first start".to_owned()),
    ));
    let there = path.exists();
    let pending = if there {
        wire::pending_migrations(settings, Some(&settings.data_dir)).await
    } else {
        Ok(Vec::new())
    };
    report.add(match pending {
        Ok(pending) => Line::ok(
            "file",
            "migrations",
            "the schema is the newest",
            pending.join(", "),
        )
        .unless(
            pending.is_empty(),
            Verdict::Warn,
            "a server brings it up to date when it starts",
            RUN_MIGRATE,
        ),
        Err(failure) => Line::ok(
            "file",
            "migrations",
            "the schema is the newest",
            failure.to_string(),
        )
        .unless(
            false,
            Verdict::Fail,
            "the file is not a database of ours, or is damaged",
            "check database.url and data_dir; restore the file from a backup",
        ),
    });
    for line in file_system(path) {
        report.add(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_on_this_machine_are_near() {
        for near in [
            "postgres://127.0.0.1:5432/x",
            "postgresql://ann:***@localhost/x",
            "postgres://[::1]/x",
        ] {
            assert!(is_near(near), "{near}");
        }
        for far in ["postgres://db.example/x", "postgres://ann@10.0.0.1/localhost"] {
            assert!(!is_near(far), "{far}");
        }
    }

    fn healthy() -> Diagnosis {
        Diagnosis {
            server_version: "15.8".to_owned(),
            round_trip: Duration::from_millis(1),
            clock_ahead: jiff::SignedDuration::ZERO,
            pending_migrations: Vec::new(),
            may_create: true,
            forbidden_tables: Vec::new(),
            is_read_only: false,
            is_encrypted: true,
            connections_max: 97,
            connections_used: 10,
            connections_ours: 33,
            synchronous_commit: "on".to_owned(),
            fsync: true,
            full_page_writes: true,
        }
    }

    type Change = fn(&mut Diagnosis);

    #[test]
    fn each_trouble_of_a_server_is_told() {
        let problems = |found: &Diagnosis, near| {
            let mut report = Report::default();
            report.subject("database", "x", true);
            postgres(found, near, &mut report);
            let text = report.text();
            let lines = text
                .lines()
                .filter(|line| line.contains("warn         ") || line.contains("fail         "));
            lines.map(|line| line.trim().to_owned()).collect::<Vec<_>>()
        };
        assert!(problems(&healthy(), false).is_empty());
        let table: [(Change, &str); 12] = [
            (
                |d| d.round_trip = Duration::from_millis(50),
                "warn         it answers quickly",
            ),
            (
                |d| d.clock_ahead = jiff::SignedDuration::from_secs(-60),
                "warn         its clock",
            ),
            (
                |d| d.is_encrypted = false,
                "warn         the connection is encrypted",
            ),
            (
                |d| d.pending_migrations = vec!["0009_x".to_owned()],
                "warn         the schema",
            ),
            (
                |d| (d.pending_migrations, d.may_create) = (vec!["0009_x".to_owned()], false),
                "fail         the schema",
            ),
            (
                |d| d.forbidden_tables = vec!["x_files".to_owned()],
                "fail         we may read",
            ),
            (|d| d.is_read_only = true, "fail         it takes writes"),
            (|d| d.fsync = false, "warn         fsync"),
            (|d| d.full_page_writes = false, "warn         full_page_writes"),
            (|d| d.connections_used = 90, "warn         there are connections"),
            (|d| d.connections_max = 20, "fail         there are connections"),
            (|d| d.synchronous_commit = "off".to_owned(), ""),
        ];
        for (change, expected) in table {
            let mut found = healthy();
            change(&mut found);
            let problems = problems(&found, false);
            assert!(
                if expected.is_empty() {
                    problems.is_empty()
                } else {
                    problems.len() == 1 && problems[0].starts_with(expected)
                },
                "{expected}: {problems:?}"
            );
        }
    }
}
