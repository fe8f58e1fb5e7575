//! What cannot work is refused in one line that says what to do.

use cloakroom_testkit::servers;

use crate::support::{Home, Settings, nobody, postgres, s3, settings, shared};

const ANY_PORTS: &[&str] = &[
    "serve",
    "--dev",
    "--listen",
    "127.0.0.1:0",
    "--s3-listen",
    "127.0.0.1:0",
];

fn assert_refused((code, said): (i32, String), expected: i32, parts: &[&str]) {
    assert_eq!(code, expected, "{said}");
    for part in parts {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[test]
fn a_worker_alone_is_refused() {
    for half in [Settings::new(), postgres(), s3()] {
        let home = Home::new(half);
        let refusal = home.refused(&["worker"]);
        let what = "several processes need PostgreSQL and S3: set DATABASE_URL and S3_ENDPOINT";
        assert_refused(refusal, 2, &[what, "cloakroom serve"]);
        assert!(!home.path().join("data").exists(), "nothing half made");
    }
}

#[tokio::test]
async fn a_second_server_on_what_one_has_for_itself_is_refused() {
    for half in [Settings::new(), postgres()] {
        let home = Home::new(half);
        let _first = home.serve("first", &[]).await;
        let refusal = home.refused(&[ANY_PORTS, &["--data-dir", "first-data"]].concat());
        assert_refused(refusal, 1, &["is in use", "set DATABASE_URL and S3_ENDPOINT"]);
    }
    // Another directory beside the same database would have half of the files.
    let home = Home::new(postgres());
    let _first = home.serve("first", &[]).await;
    let refusal = home.refused(&[ANY_PORTS, &["--data-dir", "second-data"]].concat());
    assert_refused(
        refusal,
        1,
        &["another directory", "set DATABASE_URL and S3_ENDPOINT"],
    );
}

#[test]
fn what_does_not_answer_is_named_without_its_password() {
    let now = settings(&[("CLOAKROOM_SERVER_STARTUP_TIMEOUT", "1s")]);
    let database = format!("postgres://ann:hunter2@{}/files", nobody());
    let away = settings(&[("DATABASE_URL", &database)]);
    let home = Home::new(now.clone().into_iter().chain(away).collect());
    for arguments in [ANY_PORTS, &["migrate"], &["migrate", "--check"]] {
        let refusal = home.refused(arguments);
        assert!(!refusal.1.contains("hunter2"), "{refusal:?}");
        assert_refused(
            refusal,
            1,
            &[
                "PostgreSQL at postgres://ann:********@127.0.0.1",
                "is out of reach",
                "waited 1 s",
            ],
        );
    }
    let endpoint = format!("http://{}", nobody());
    let mut home = Home::new(now.into_iter().chain(s3()).collect());
    home.settings.insert("S3_ENDPOINT".to_owned(), endpoint.clone());
    assert_refused(
        home.refused(ANY_PORTS),
        1,
        &["S3 at", &endpoint, "is out of reach"],
    );
}

#[test]
fn a_wrong_secret_is_refused_without_being_shown() {
    let mut home = Home::new(s3());
    home.settings.extend(settings(&[
        ("S3_SECRET_KEY", "certainly-not-this-one"),
        ("CLOAKROOM_SERVER_STARTUP_TIMEOUT", "1m"),
    ]));
    // Waiting makes no secret right.
    assert_refused(
        home.refused(ANY_PORTS),
        1,
        &["SignatureDoesNotMatch", "check s3.access_key"],
    );
    home.settings
        .insert("S3_ACCESS_KEY".to_owned(), "nobody".to_owned());
    assert_refused(
        home.refused(ANY_PORTS),
        1,
        &["InvalidAccessKeyId", "check s3.access_key"],
    );
    let url = servers::postgres_url();
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (user, place) = rest.split_once(':').expect("a user");
    let place = place.rsplit_once('@').expect("a place").1;
    let mut home = Home::new(postgres());
    home.settings.insert(
        "DATABASE_URL".to_owned(),
        format!("{scheme}://{user}:not-this-one@{place}"),
    );
    home.settings
        .insert("CLOAKROOM_SERVER_STARTUP_TIMEOUT".to_owned(), "0s".to_owned());
    assert_refused(home.refused(ANY_PORTS), 1, &["password authentication failed"]);
}

#[test]
fn an_s3_service_is_not_used_with_no_or_known_credentials() {
    let mut home = Home::new(shared());
    home.settings.remove("S3_ACCESS_KEY");
    home.settings.remove("S3_SECRET_KEY");
    assert_refused(
        home.refused(ANY_PORTS),
        2,
        &["no credentials for the S3 service", "S3_ACCESS_KEY"],
    );
    assert_refused(
        home.refused(&["worker"]),
        2,
        &["no credentials for the S3 service"],
    );
    home.settings.extend(settings(&[
        ("S3_ACCESS_KEY", "minioadmin"),
        ("S3_SECRET_KEY", "minioadmin"),
    ]));
    assert_refused(home.refused(&["worker"]), 2, &["a default that everybody knows"]);
}

#[test]
fn a_url_that_is_none_is_not_repeated() {
    for (name, value) in [
        ("DATABASE_URL", "mysql://ann:hunter2@db/files"),
        ("DATABASE_URL", "postgres://ann:hunt@er2@db/files"),
        ("REDIS_URL", "http://:hunter2@cache"),
        ("CLOAKROOM_BUCKET_EVENTS_NATS_URL", "amqp://ann:hunter2@queue"),
    ] {
        let home = Home::new(settings(&[(name, value)]));
        let (code, said) = home.refused(ANY_PORTS);
        assert!(
            code == 2 && !said.contains("hunter2") && !said.contains("er2"),
            "{said}"
        );
    }
}

#[test]
fn a_bucket_that_is_not_there_is_made_only_when_that_is_asked_for() {
    let mut home = Home::new(s3());
    home.settings
        .insert("CLOAKROOM_S3_BOOTSTRAP".to_owned(), "false".to_owned());
    let bucket = home.settings["S3_BUCKET"].clone();
    assert_refused(home.refused(ANY_PORTS), 1, &["cannot use the bucket", &bucket]);
}

/// The check says what the start says, and both before anything is made.
fn assert_refused_by_check_and_start(home: &Home, arguments: &[&str], parts: &[&str]) {
    assert_refused(home.refused(&["config", "check", "--dev"]), 2, parts);
    assert_refused(home.refused(arguments), 2, parts);
    assert!(!home.path().join("data").exists(), "nothing half made");
}

#[test]
fn keys_that_are_not_there_are_found_by_the_check() {
    for name in ["CLOAKROOM_AUTH_JWKS_FILE", "CLOAKROOM_AUTH_PUBLIC_KEY_FILES"] {
        let home = Home::new(settings(&[(name, "nowhere/keys")]));
        assert_refused_by_check_and_start(&home, ANY_PORTS, &["the key file nowhere/keys cannot be read"]);
    }
    let home = Home::new(settings(&[("CLOAKROOM_AUTH_JWKS_FILE", "keys.json")]));
    std::fs::write(home.path().join("keys.json"), "{}").expect("written");
    assert_refused_by_check_and_start(&home, ANY_PORTS, &["keys.json holds no public key"]);
}

#[test]
fn a_program_that_cannot_be_run_is_found_before_a_file_is() {
    let home = Home::new(Settings::new());
    let program = home.path().join("words");
    let program = program.to_str().expect("UTF-8");
    let table = format!("[processors.words]\ncommand = [{program:?}]\n");
    std::fs::write(home.path().join("cloakroom.toml"), table).expect("written");
    let named = format!("processors.words.command names {program}, which ");
    for why in ["cannot be run: No such file", "is not executable"] {
        assert_refused_by_check_and_start(&home, ANY_PORTS, &[&named, why, "serve --no-worker"]);
        std::fs::write(program, "#!/bin/sh\n").expect("written");
    }
    // Who runs no jobs needs no programs.
    let checked = home.run(&["config", "check", "--dev", "--no-worker"]);
    assert!(checked.status.success(), "{checked:?}");
    let mut beside = Home::new(shared());
    beside.settings.insert(
        "CLOAKROOM_CONFIG".to_owned(),
        format!("{}/cloakroom.toml", home.path().display()),
    );
    assert_refused(beside.refused(&["worker"]), 2, &[&named, "is not executable"]);
}
