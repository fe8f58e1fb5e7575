//! Finding out what is really true of a bucket: by trying it, under a prefix of its own that is cleaned up.
//!
//! What a service promises and what it enforces are two things. Every limit that we sign is tried to be broken here, one at
//! a time, beside a request that keeps it: only a service that takes the one and refuses the other enforces the limit.
//! Uploads are signed by the very signer that signs for clients, and sent to the address that clients use.
//!
//! [`essential`] asks what signing depends on, in some forty small requests, and runs at every start of a server;
//! [`thorough`] asks everything and is what `cloakroom doctor` shows.
//!
//! | file | what |
//! |---|---|
//! | `facts` | everything that can be asked, and what it means |
//! | `findings` | what was found, and what follows |
//! | `caller` | requests without retries |
//! | `reach`, `permissions`, `puts`, `forms`, `parts`, `reading`, `integrity`, `conditions`, `setup` | the questions |

mod caller;
mod conditions;
mod facts;
mod findings;
mod forms;
mod integrity;
mod parts;
mod permissions;
mod puts;
mod reach;
mod reading;
mod setup;

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::ports::clock::Clock;
use cloakroom_core::ports::signer::Signer as UploadSigner;
use cloakroom_signing::{Endpoint, Region, Signer};
use jiff::Timestamp;

use self::caller::Caller;
pub use self::facts::{Fact, Group, Weight};
pub use self::findings::{Answer, Findings, Verdict, offered_instead};
use super::Encryption;
use crate::credentials::CredentialsSource;
use crate::web::WebClient;

/// How long a URL of the probe is good, in seconds.
const EXPIRES_SECONDS: u32 = 300;
/// How long ago those were signed that must not be good any more, in seconds: above the 15 minutes of tolerance.
const LONG_AGO_SECONDS: i64 = 3600;

/// The bucket that is asked about.
#[derive(Clone)]
pub struct Target {
    /// The service as we call it.
    pub endpoint: Endpoint,
    /// The service as clients reach it; `signer` signs for this address.
    pub public: Endpoint,
    /// The region that is signed for.
    pub region: Region,
    /// Who calls.
    pub credentials: Arc<dyn CredentialsSource>,
    /// What signs for clients.
    pub signer: Arc<dyn UploadSigner>,
    /// What signs for `endpoint`. Used where `public` is not reached from here: inside of a cluster it often is not, and what
    /// the service enforces is the same under both addresses.
    pub detour: Option<Arc<dyn UploadSigner>>,
    /// The bucket.
    pub bucket: String,
    /// Everything that is written begins so, and is removed. Ends in a name that nobody else uses.
    pub prefix: String,
    /// Where clients are sent. Not `public` where something stands in for a server that does not run.
    pub announced: Endpoint,
    /// Origins of web pages that must be let in.
    pub origins: Vec<String>,
    /// How files are encrypted.
    pub encryption: Option<Encryption>,
    /// The storage class of files.
    pub storage_class: Option<String>,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("endpoint", &self.endpoint)
            .field("public", &self.public)
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}

impl Target {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn long_ago(&self) -> Timestamp {
        let now = self.now();
        let past = Timestamp::from_second(now.as_second() - LONG_AGO_SECONDS);
        past.unwrap_or(now)
    }
}

/// How often the essential questions are asked when the service does not answer them, and the wait in between.
const TRIES_MAX: u32 = 3;
const TRY_PAUSE: Duration = Duration::from_secs(1);

/// How much is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    Essential,
    Bucket,
    Thorough,
}

/// Finds out what signing uploads depends on. Takes some forty small requests; asks again what was not answered.
pub async fn essential(target: &Target) -> Findings {
    let mut tries = 1;
    loop {
        let findings = run(target, Depth::Essential).await;
        if tries == TRIES_MAX || findings.is_conclusive() {
            return findings;
        }
        tries += 1;
        tokio::time::sleep(TRY_PAUSE).await;
    }
}

/// Finds out what may differ from bucket to bucket of one service: permissions and settings.
pub async fn bucket(target: &Target) -> Findings {
    run(target, Depth::Bucket).await
}

/// Finds out everything. Writes some 12 MiB, and removes them.
pub async fn thorough(target: &Target) -> Findings {
    run(target, Depth::Thorough).await
}

async fn run(target: &Target, depth: Depth) -> Findings {
    let mut findings = Findings::default();
    let caller = match open(target).await {
        Ok(caller) => caller,
        Err((fact, answer)) => {
            findings.note(fact, answer);
            findings.give_up(asked(depth), "not asked: there is no connection");
            return findings;
        }
    };
    if reach::ask(&caller, &mut findings).await {
        let detoured;
        let caller = match &target.detour {
            Some(signer) if !findings.holds(Fact::PublicEndpointReached) => {
                detoured = Target {
                    signer: Arc::clone(signer),
                    public: target.endpoint.clone(),
                    ..target.clone()
                };
                caller.about(&detoured)
            }
            _ => caller,
        };
        ask(&caller, depth, &mut findings).await;
        caller.clean_up().await;
    }
    findings.give_up(asked(depth), "not asked: something that it needs does not work");
    findings
}

async fn ask(caller: &Caller<'_>, depth: Depth, findings: &mut Findings) {
    if depth != Depth::Bucket {
        puts::ask(caller, findings).await;
        forms::ask(caller, findings).await;
        parts::ask_briefly(caller, findings).await;
        conditions::ask_briefly(caller, findings).await;
        integrity::ask_briefly(caller, findings).await;
    }
    if depth == Depth::Thorough {
        parts::ask(caller, findings).await;
        conditions::ask(caller, findings).await;
        integrity::ask(caller, findings).await;
    }
    if depth != Depth::Essential {
        permissions::ask(caller, findings).await;
        reading::ask(caller, findings).await;
        setup::ask(caller, findings).await;
    }
}

/// What is always said something about; CORS and settings only where they are configured.
fn asked(depth: Depth) -> impl Iterator<Item = Fact> {
    let optional = |fact: Fact| {
        matches!(
            fact,
            Fact::SameProtocol
                | Fact::CorsPut
                | Fact::CorsPost
                | Fact::CorsGet
                | Fact::CorsExposesEtag
                | Fact::EncryptionKms
                | Fact::EncryptionAsConfigured
                | Fact::StorageClassAsConfigured
        )
    };
    let facts = Fact::ALL.iter().copied();
    facts.filter(move |fact| match depth {
        Depth::Essential => fact.group() == Group::Reach,
        Depth::Bucket => {
            !optional(*fact)
                && matches!(
                    fact.group(),
                    Group::Reach | Group::Permissions | Group::Reading | Group::Bucket
                )
        }
        Depth::Thorough => !optional(*fact),
    })
}

async fn open(target: &Target) -> Result<Caller<'_>, (Fact, Answer)> {
    let web = WebClient::new(target.connect_timeout, target.timeout)
        .map_err(|error| (Fact::EndpointReached, Answer::Not(error.to_string())))?;
    let credentials = target.credentials.credentials().await;
    let credentials =
        credentials.map_err(|error| (Fact::CredentialsAccepted, Answer::Not(error.to_string())))?;
    Ok(Caller::new(
        target,
        web,
        Signer::new(credentials, target.region.clone()),
    ))
}
