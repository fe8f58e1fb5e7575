//! Credentials are renewed in time, kept while that fails, and refused when they have ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use cloakroom_core::ports::clock::Clock as _;
use cloakroom_objects::credentials::{
    ChainOptions, CredentialsChain, CredentialsError, CredentialsSource as _, Source,
};
use cloakroom_testkit::clock::MockClock;
use jiff::SignedDuration;

use crate::issuer::Issuer;

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// A container's agent that numbers what it gives out, each good for an hour, and can be told to fail.
struct Agent {
    issuer: Issuer,
    clock: Arc<MockClock>,
    fails: Arc<AtomicBool>,
}

impl Agent {
    async fn start() -> Self {
        let clock = Arc::new(MockClock::default());
        let (count, fails) = (AtomicU32::new(0), Arc::new(AtomicBool::new(false)));
        let (time, failing) = (Arc::clone(&clock), Arc::clone(&fails));
        let issuer = Issuer::start(move |_| {
            if failing.load(Ordering::SeqCst) {
                return (403, r#"{"code":"AccessDenied","message":"no more"}"#.to_owned());
            }
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            let end = time.now() + HOUR;
            let body = format!(
                r#"{{"AccessKeyId":"key-{number}","SecretAccessKey":"hush","Token":"hush","Expiration":"{end}"}}"#
            );
            (200, body)
        })
        .await;
        Self { issuer, clock, fails }
    }

    async fn chain(&self, look_every: Duration) -> CredentialsChain {
        let options = ChainOptions {
            source: Source::Container {
                url: format!("{}/v1/credentials", self.issuer.url),
                token: None,
                token_file: None,
            },
            look_every,
        };
        let clock = Arc::clone(&self.clock);
        CredentialsChain::connect(options, clock)
            .await
            .expect("credentials")
    }
}

/// Never, as far as a test is concerned.
const NEVER: Duration = Duration::from_secs(100_000);

#[tokio::test]
async fn credentials_are_kept_and_renewed_before_they_end() {
    let agent = Agent::start().await;
    let chain = agent.chain(NEVER).await;
    let key = async || chain.credentials().await.map(|found| found.access_key_id);
    assert_eq!(key().await.as_deref(), Ok("key-1"));
    agent.clock.advance(SignedDuration::from_mins(44));
    assert_eq!(key().await.as_deref(), Ok("key-1"));
    assert_eq!(agent.issuer.requests().len(), 1, "kept");
    agent.clock.advance(SignedDuration::from_mins(1));
    assert_eq!(
        key().await.as_deref(),
        Ok("key-2"),
        "a quarter of an hour before the end"
    );
    assert_eq!(chain.latest().access_key_id, "key-2");
}

#[tokio::test]
async fn old_ones_serve_until_their_end_while_renewing_fails() {
    let agent = Agent::start().await;
    let chain = agent.chain(NEVER).await;
    agent.fails.store(true, Ordering::SeqCst);
    agent.clock.advance(SignedDuration::from_mins(50));
    let found = chain.credentials().await.expect("the old ones");
    assert_eq!(found.access_key_id, "key-1");
    let asked = agent.issuer.requests().len();
    chain.credentials().await.expect("the old ones");
    assert_eq!(agent.issuer.requests().len(), asked, "not at every request");

    agent.clock.advance(SignedDuration::from_mins(11));
    let error = chain.credentials().await.expect_err("they have ended");
    let expected = CredentialsError::Refused {
        issuer: "container credentials agent",
        status: 403,
        code: "AccessDenied".to_owned(),
        message: "no more".to_owned(),
    };
    assert_eq!(error, expected);

    agent.fails.store(false, Ordering::SeqCst);
    let found = chain.credentials().await.expect("new ones");
    assert_eq!(found.access_key_id, "key-2", "it recovers");
}

#[tokio::test]
async fn whoever_only_signs_gets_new_ones_too() {
    let agent = Agent::start().await;
    let chain = agent.chain(Duration::from_millis(5)).await;
    agent.clock.advance(SignedDuration::from_mins(46));
    let renewed = async {
        while chain.latest().access_key_id != "key-2" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), renewed)
        .await
        .expect("renewed without a request");
}

#[tokio::test]
async fn many_who_need_new_ones_ask_once() {
    let agent = Agent::start().await;
    let chain = agent.chain(NEVER).await;
    agent.clock.advance(SignedDuration::from_hours(2));
    let all = futures_util::future::join_all((0..50).map(|_| chain.credentials())).await;
    for found in all {
        assert_eq!(found.expect("credentials").access_key_id, "key-2");
    }
    assert_eq!(agent.issuer.requests().len(), 2);
}

#[tokio::test]
async fn tokens_are_read_anew_from_their_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    std::fs::write(&file, "first\n").expect("written");
    let issuer = Issuer::start(|seen| match seen.header("authorization") {
        Some("first") => (
            200,
            r#"{"AccessKeyId":"a","SecretAccessKey":"b","Expiration":"2000-01-01T01:00:00Z"}"#.to_owned(),
        ),
        Some("second") => (200, r#"{"AccessKeyId":"c","SecretAccessKey":"d"}"#.to_owned()),
        _ => (401, String::new()),
    })
    .await;
    let clock = Arc::new(MockClock::new());
    clock.set("2000-01-01T00:00:00Z".parse().expect("a time"));
    let options = ChainOptions {
        source: Source::Container {
            url: format!("{}/v1/credentials", issuer.url),
            token: None,
            token_file: Some(file.clone()),
        },
        look_every: NEVER,
    };
    let chain = CredentialsChain::connect(options, clock.clone())
        .await
        .expect("credentials");
    std::fs::write(&file, "second").expect("written");
    clock.advance(HOUR);
    assert_eq!(
        chain
            .credentials()
            .await
            .map(|found| found.access_key_id)
            .as_deref(),
        Ok("c")
    );
}

/// A metadata service with the rules of version 2, which a client of version 1 fails.
#[tokio::test]
async fn the_instance_is_asked_within_a_session() {
    let issuer = Issuer::start(|seen| {
        let in_session = seen.header("x-aws-ec2-metadata-token") == Some("session");
        match seen.line.as_str() {
            "PUT /latest/api/token" if seen.header("x-aws-ec2-metadata-token-ttl-seconds").is_some() => {
                (200, "session".to_owned())
            }
            _ if !in_session => (401, String::new()),
            "GET /latest/meta-data/iam/security-credentials/" => (200, "files-role\n".to_owned()),
            "GET /latest/meta-data/iam/security-credentials/files-role" => (
                200,
                r#"{"Code":"Success","AccessKeyId":"a","SecretAccessKey":"b","Token":"c","Expiration":"2999-01-01T00:00:00Z"}"#.to_owned(),
            ),
            _ => (404, String::new()),
        }
    })
    .await;
    let connect = |address: String| {
        let options = ChainOptions {
            source: Source::Instance { address },
            look_every: NEVER,
        };
        CredentialsChain::connect(options, Arc::new(MockClock::default()))
    };
    let found = connect(issuer.url.clone()).await.expect("credentials").latest();
    assert_eq!(found.access_key_id, "a");

    let without_role = Issuer::start(|seen| match seen.line.as_str() {
        "PUT /latest/api/token" => (200, "session".to_owned()),
        _ => (200, String::new()),
    })
    .await;
    let error = connect(without_role.url.clone()).await.expect_err("no role");
    assert!(
        matches!(&error, CredentialsError::Refused { message, .. } if message.contains("no role")),
        "{error}"
    );

    drop(issuer);
    let nobody = connect("http://127.0.0.1:9".to_owned())
        .await
        .expect_err("nobody there");
    assert!(matches!(nobody, CredentialsError::Unreachable { .. }), "{nobody}");
}

#[tokio::test]
async fn a_token_that_sts_refuses_is_named_and_not_repeated() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    std::fs::write(&file, "hush-token").expect("written");
    let issuer = Issuer::start(|_| {
        (
            400,
            "<ErrorResponse><Error><Code>InvalidIdentityToken</Code><Message>not yours</Message></Error></ErrorResponse>".to_owned(),
        )
    })
    .await;
    let connect = |token_file| {
        let options = ChainOptions {
            source: Source::WebIdentity {
                token_file,
                role_arn: "arn:aws:iam::1:role/x+y".to_owned(),
                session_name: "cloakroom".to_owned(),
                sts: issuer.url.clone(),
            },
            look_every: NEVER,
        };
        CredentialsChain::connect(options, Arc::new(MockClock::default()))
    };
    let error = connect(file).await.expect_err("refused");
    assert!(
        matches!(&error, CredentialsError::Refused { status: 400, code, .. } if code == "InvalidIdentityToken"),
        "{error}"
    );
    let seen = issuer.requests();
    assert_eq!(seen.len(), 1, "what is refused is not repeated");
    assert!(
        seen[0]
            .body
            .contains("RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fx%2By"),
        "{}",
        seen[0].body
    );
    assert!(!seen[0].line.contains("hush") && !error.to_string().contains("hush"));

    let missing = connect(directory.path().join("none")).await.expect_err("no file");
    assert!(matches!(missing, CredentialsError::TokenFile { .. }), "{missing}");
}
