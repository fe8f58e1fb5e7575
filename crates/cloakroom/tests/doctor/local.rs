//! The local store: nothing fails, whether a server runs or not, and nothing is left behind.

use tokio::net::TcpSocket;

use crate::home::Home;

const EVERYTHING: [&str; 4] = ["put", "post", "multipart", "stream"];

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_fine_in_an_empty_directory() {
    let home = Home::new(&[(
        "CLOAKROOM_S3_CORS_ORIGINS",
        "https://app.example,https://*.other.example",
    )]);
    let said = home.doctor(&["--json"]).await;
    assert_eq!(
        (said.code, said.json()["verdict"].as_str()),
        (0, Some("ok")),
        "{}",
        said.text
    );
    assert_eq!(said.methods(), EVERYTHING);
    assert_eq!(said.verdict("cors_put"), "ok");
    let left: Vec<_> = walk(&home.path().join("data/objects"));
    assert!(
        left.iter()
            .all(|path| !path.contains("doctor-") && !path.contains("probe")),
        "{left:?}"
    );

    let said = home.doctor(&[]).await;
    assert_eq!(said.code, 0);
    assert!(
        said.text
            .contains("upload methods that are offered: put, post, multipart, stream\n"),
        "{}",
        said.text
    );
    assert!(said.text.ends_with(" 0 warnings, 0 failures\n"), "{}", said.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_is_not_let_in_is_a_failure() {
    let home = Home::new(&[("CLOAKROOM_S3_CORS_ORIGINS", "https://app.example")]);
    let said = home
        .doctor(&["--json", "--origin", "https://stranger.example"])
        .await;
    assert_eq!(said.code, 1);
    assert_eq!(said.verdict("cors_put"), "fail");
    assert_eq!(
        said.line("cors_put")["remedy"],
        "add the origin to s3.cors_origins"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_from_https_is_not_sent_to_http() {
    let home = Home::new(&[
        ("CLOAKROOM_S3_PUBLIC_URL", "http://files.example"),
        (
            "CLOAKROOM_S3_CORS_ORIGINS",
            "http://app.example,https://app.example",
        ),
    ]);
    let said = home.doctor(&["--json"]).await;
    assert_eq!(said.code, 0, "{}", said.text);
    let line = said.line("same_protocol");
    assert_eq!(
        (line["verdict"].as_str(), line["found"].as_str()),
        (
            Some("warn"),
            Some("no: a page of https://app.example would be sent to http://files.example")
        )
    );
    assert!(line["remedy"].as_str().unwrap().contains("s3.public_url"));
    let said = home.doctor(&["--json", "--origin", "http://app.example"]).await;
    assert_eq!(said.verdict("same_protocol"), "ok");
    // Nobody says where these pages are from.
    let home = home.with(&[("CLOAKROOM_S3_CORS_ORIGINS", "*")]);
    assert_eq!(home.doctor(&["--json"]).await.verdict("same_protocol"), "ok");
    let home = home.with(&[
        ("CLOAKROOM_S3_PUBLIC_URL", "https://files.example"),
        ("CLOAKROOM_S3_CORS_ORIGINS", "https://app.example"),
    ]);
    assert_eq!(home.doctor(&["--json"]).await.verdict("same_protocol"), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_endpoint_of_a_server_that_runs_is_asked() {
    // Bound, so that nobody else gets the port, and not listened on, so that the server does.
    let reserved = TcpSocket::new_v4().unwrap();
    reserved.set_reuseaddr(true).unwrap();
    reserved.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = reserved.local_addr().unwrap().port();
    let home = Home::new(&[("CLOAKROOM_S3_LISTEN", &format!("127.0.0.1:{port}"))]);
    let (_server, _) = home.serve().await;
    let said = home.doctor(&["--json"]).await;
    assert_eq!(said.code, 0, "{} {}", said.text, said.errors);
    assert!(
        said.line("lock")["found"]
            .as_str()
            .unwrap()
            .contains("a server that runs")
    );
    assert_eq!(said.methods(), EVERYTHING);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_used_is_named() {
    let home = Home::new(&[]);
    std::fs::write(home.path().join("data"), "a file").unwrap();
    let said = home.doctor(&["--json"]).await;
    assert_eq!(said.code, 1);
    assert_eq!(said.verdict("writable"), "fail");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_database_is_named() {
    let home = Home::new(&[]);
    std::fs::write(
        home.path().join("files.db"),
        "no database, but long enough to be taken for one".repeat(100),
    )
    .unwrap();
    let home = home.with(&[("DATABASE_URL", "sqlite://files.db")]);
    let said = home.doctor(&["--json"]).await;
    assert_eq!(
        (said.code, said.verdict("migrations").as_str()),
        (1, "fail"),
        "{}",
        said.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_origin_is_refused() {
    for origin in [
        "app.example",
        "https://app.example/",
        "https://",
        "ftp://app.example",
        "https://a b",
    ] {
        let said = Home::new(&[]).doctor(&["--origin", origin]).await;
        assert_eq!(said.code, 2, "{origin}");
        assert!(said.errors.contains(origin), "{}", said.errors);
    }
}

fn walk(directory: &std::path::Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            let mut found = walk(&path);
            found.push(path.display().to_string());
            found
        })
        .collect()
}
