//! The local store: its directory, and our own S3 endpoint in front of it, which is asked what any other is asked.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::key::SYSTEM_PREFIX;
use cloakroom_core::ports::clock::Clock;
use cloakroom_core::ports::objects::ObjectStore as _;
use cloakroom_gateway::{CorsPolicy, Gateway, GatewayOptions};
use cloakroom_objects::credentials::{CredentialsSource, StaticCredentials};
use cloakroom_objects::local::{LocalOptions, LocalStore};
use cloakroom_objects::s3::probe::{self, Fact, Target, Verdict};
use cloakroom_objects::s3::{S3Options, S3Store};
use cloakroom_objects::signer::UrlSigner;
use cloakroom_signing::{Addressing, Credentials, Endpoint};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::report::{Line, Report};
use super::{Args, Failure, s3};
use crate::config::Config;
use crate::data_dir::{DataDir, DataDirError, keys_of};
use crate::dev::DevKeys;
use crate::runtime::{SystemClock, SystemRandom, secret_text};

/// Everything is on this machine.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Less free space than this is worth a word.
const FREE_BYTES_MIN: u64 = 1024 * 1024 * 1024;

/// Looks at the directory, and at the endpoint: that of the server that runs, or one that is started for this.
pub(super) async fn look(args: &Args, config: &Config, report: &mut Report) -> Result<(), Failure> {
    let settings = &config.settings;
    let objects = settings.data_dir.join("objects");
    report.subject("store", settings.store_description().to_string(), false);
    for line in file_system(&objects) {
        report.add(line);
    }
    let occupied = match DataDir::open(&settings.data_dir) {
        Ok(data_dir) => Ok(data_dir),
        Err(DataDirError::InUse { pid, .. }) => Err(pid),
        Err(error) => {
            report.add(
                Line::ok(
                    "files",
                    "writable",
                    "the directory may be written to",
                    error.to_string(),
                )
                .unless(
                    false,
                    Verdict::Fail,
                    "nothing can be stored",
                    "check data_dir, its owner and its permissions",
                ),
            );
            return Ok(());
        }
    };
    report.add(Line::ok(
        "files",
        "writable",
        "the directory may be written to",
        "",
    ));
    let mut serving = JoinSet::new();
    let (endpoint, public, credentials) = match &occupied {
        Err(pid) => {
            let pid = pid.map(|pid| format!(", process {pid}")).unwrap_or_default();
            report.add(Line::ok(
                "files",
                "lock",
                "who uses it",
                format!("a server that runs{pid}; its endpoint is asked"),
            ));
            running(config)?
        }
        Ok(data_dir) => {
            report.add(Line::ok(
                "files",
                "lock",
                "who uses it",
                "nobody; the endpoint is started for this",
            ));
            let (url, credentials) = start(config, data_dir, &mut serving).await?;
            (url.clone(), url, credentials)
        }
    };
    let endpoint = Endpoint::parse(&endpoint, Addressing::Path).map_err(Failure::new)?;
    let public = Endpoint::parse(&public, Addressing::Path).map_err(Failure::new)?;
    let findings = probe_endpoint(args, config, endpoint, public, credentials).await?;
    if let Some(line) = s3::unused(args, config) {
        report.add(line);
    }
    for (fact, answer) in findings.answers() {
        if s3::is_unneeded(answer, fact) {
            continue;
        }
        let line = Line::of(fact, answer);
        let is_cors = matches!(
            fact,
            Fact::CorsPut | Fact::CorsPost | Fact::CorsGet | Fact::CorsExposesEtag
        );
        report.add(if is_cors && line.verdict != Verdict::Ok {
            // Our endpoint's origins are in the configuration, and not in the bucket.
            Line {
                remedy: "add the origin to s3.cors_origins",
                ..line
            }
        } else {
            line
        });
    }
    s3::offer(config, &findings, report);
    Ok(())
}

/// The addresses and credentials of a server that runs.
fn running(config: &Config) -> Result<(String, String, Credentials), Failure> {
    let settings = &config.settings;
    let listen = settings.s3_listen.0;
    let endpoint = if listen.ip().is_unspecified() {
        format!("http://127.0.0.1:{}", listen.port())
    } else {
        format!("http://{listen}")
    };
    let public = settings.s3_public_address().unwrap_or_else(|| endpoint.clone());
    let configured = settings
        .s3_access_key
        .as_ref()
        .zip(settings.s3_secret_key.as_ref());
    let credentials = match configured {
        Some((access, secret)) => Credentials::new(access.expose(), secret.clone()),
        None => DevKeys::new(keys_of(&settings.data_dir), settings)
            .stored_credentials()
            .map_err(Failure::new)?
            .ok_or_else(|| {
                Failure::new(
                    "there are no credentials of the S3 endpoint: set s3.access_key and s3.secret_key",
                )
            })?,
    };
    Ok((endpoint, public, credentials))
}

/// Starts the endpoint over the store, on a port and with a key of its own.
async fn start(
    config: &Config,
    data_dir: &DataDir,
    serving: &mut JoinSet<()>,
) -> Result<(String, Credentials), Failure> {
    let store = LocalStore::open(&LocalOptions::new(data_dir.objects())).map_err(Failure::new)?;
    let credentials = Credentials::new(secret_text::<10>(), secret_text::<30>());
    let known = credentials.clone();
    let lookup = move |access_key: &str| (access_key == known.access_key_id).then(|| known.clone());
    let options = GatewayOptions {
        cors: CorsPolicy {
            allowed_origins: config.settings.s3_cors_origins.clone(),
        },
        ..GatewayOptions::new(config.settings.s3_region.clone(), Arc::new(lookup), clock())
    };
    let gateway = Gateway::new(Arc::new(store), options);
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(Failure::new)?;
    let url = format!("http://{}", listener.local_addr().map_err(Failure::new)?);
    serving.spawn(async move { gateway.serve(listener, std::future::pending()).await });
    Ok((url, credentials))
}

/// Asks in a bucket that is made for it, beside those of the collections.
async fn probe_endpoint(
    args: &Args,
    config: &Config,
    endpoint: Endpoint,
    public: Endpoint,
    credentials: Credentials,
) -> Result<probe::Findings, Failure> {
    let region = config.settings.s3_region.clone();
    let source: Arc<dyn CredentialsSource> = Arc::new(StaticCredentials(credentials));
    let random = Arc::new(SystemRandom {
        jitter: config.settings.retry_jitter,
    });
    let options = S3Options::new(
        endpoint.clone(),
        region.clone(),
        Arc::clone(&source),
        clock(),
        random,
    );
    let store = S3Store::new(options).map_err(Failure::new)?;
    let bucket = format!(
        "doctor-{}",
        secret_text::<8>().to_lowercase().replace(['_', '-'], "x")
    );
    let made = store.create_bucket(&bucket).await;
    let signer = |endpoint: &Endpoint| {
        UrlSigner::from_credentials(Arc::clone(&source), region.clone(), endpoint.clone())
    };
    let announced = match config.settings.s3_public_address() {
        Some(url) => Endpoint::parse(&url, Addressing::Path).map_err(Failure::new)?,
        None => public.clone(),
    };
    let target = Target {
        announced,
        signer: Arc::new(signer(&public)),
        detour: (public != endpoint).then(|| Arc::new(signer(&endpoint)) as _),
        endpoint,
        public,
        region: region.clone(),
        credentials: Arc::clone(&source),
        bucket: bucket.clone(),
        // Under staging/ a server takes what it has signed itself, and nothing else.
        prefix: format!("{SYSTEM_PREFIX}probe/"),
        origins: args.origins(config),
        encryption: None,
        storage_class: None,
        connect_timeout: TIMEOUT,
        timeout: TIMEOUT,
        clock: clock(),
    };
    let findings = probe::thorough(&target).await;
    if made.is_ok() {
        store.delete_bucket(&bucket).await.map_err(|error| {
            Failure::new(format!(
                "the bucket {bucket} of the probe is left behind: {error}"
            ))
        })?;
    }
    Ok(findings)
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::default())
}

/// What kind of file system a path is on, and how full it is. Nothing where that cannot be found out.
pub(super) fn file_system(path: &Path) -> Vec<Line> {
    let there = path.ancestors().find(|ancestor| ancestor.exists());
    let there = there.map_or_else(|| PathBuf::from("."), Path::to_owned);
    let Ok(found) = rustix::fs::statfs(&there) else {
        return Vec::new();
    };
    let (kind, is_shared) = kind_of(found.f_type);
    let free = found.f_bavail.saturating_mul(found.f_bsize.unsigned_abs());
    vec![
        Line::ok(
            "files",
            "file_system",
            "the file system belongs to this machine",
            kind,
        )
        .unless(
            !is_shared,
            Verdict::Warn,
            "locks and syncs of network file systems are not always what they say",
            "use a local disk",
        ),
        Line::ok(
            "files",
            "free_space",
            "there is room",
            format!("{} MiB free", free / 1024 / 1024),
        )
        .unless(
            free >= FREE_BYTES_MIN,
            Verdict::Warn,
            "uploads are refused when it is full",
            "make room",
        ),
    ]
}

/// The name of a file system (statfs(2)), and whether other machines use it too.
fn kind_of(magic: i64) -> (String, bool) {
    // Some machines extend the sign.
    let (name, is_shared) = match magic & 0xffff_ffff {
        0x6969 => ("NFS", true),
        0x517b | 0xfe53_4d42 | 0xff53_4d42 => ("SMB", true),
        0x6573_5546 => ("FUSE", true),
        0x00c3_6400 => ("CephFS", true),
        0xef53 => ("ext", false),
        0x5846_5342 => ("XFS", false),
        0x9123_683e => ("Btrfs", false),
        0x2fc1_2fc1 => ("ZFS", false),
        0x0102_1994 => ("tmpfs", false),
        0x794c_7630 => ("overlay", false),
        other => return (format!("of type {other:#x}"), false),
    };
    (name.to_owned(), is_shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known() {
        assert_eq!(kind_of(0x6969), ("NFS".to_owned(), true));
        assert_eq!(kind_of(0xef53), ("ext".to_owned(), false));
        let directory = tempfile::tempdir().expect("a directory");
        let lines = file_system(&directory.path().join("not/there/yet"));
        assert_eq!(lines.len(), 2);
    }
}
