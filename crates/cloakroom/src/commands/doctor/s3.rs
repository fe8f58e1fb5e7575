//! An S3 service.

use std::collections::BTreeSet;

use cloakroom_core::collection::Collection;
use cloakroom_core::upload::UploadMethod;
use cloakroom_objects::s3::bootstrap::{Outcome, Step};
use cloakroom_objects::s3::probe::{self, Answer, Fact, Findings, Verdict, offered_instead};

use super::report::{Line, Report};
use super::{Args, Failure};
use crate::config::Config;
use crate::wire;

const CHECK_THE_NAME: &str =
    "check the name after --bucket: a bucket that no collection uses need not be there";

/// Looks at its buckets: at the first one thoroughly, at the others for what may differ.
pub(super) async fn look(
    args: &Args,
    config: &Config,
    url: &str,
    report: &mut Report,
) -> Result<(), Failure> {
    let names = buckets(args, config);
    let examination = match wire::Examination::begin(config, url).await {
        Ok(examination) => examination,
        Err(failure) => {
            report.subject("store", config.settings.store_description().to_string(), false);
            let line = Line::ok(
                "reach",
                "credentials",
                "there are credentials",
                failure.to_string(),
            );
            report.add(line.unless(
                false,
                Verdict::Fail,
                "nothing can be stored",
                "set s3.access_key and s3.secret_key, or run where AWS gives credentials out",
            ));
            return Ok(());
        }
    };
    let mut first: Option<Findings> = None;
    for name in &names {
        let tried = if args.fix {
            fix(args, &examination, name, report).await
        } else {
            Vec::new()
        };
        let target = examination.target(name, args.origins(config))?;
        let store = config.settings.store_description();
        report.subject("store", format!("{store}, bucket {name}"), first.is_some());
        let findings = if first.is_some() {
            probe::bucket(&target).await
        } else {
            probe::thorough(&target).await
        };
        if first.is_none()
            && let Some(server) = &findings.server
        {
            report.add(Line::ok(
                "reach",
                "server",
                "how it calls itself",
                server.as_str(),
            ));
        }
        let unused = unused(args, config);
        if let Some(line) = &unused {
            report.add(line.clone());
        }
        for (fact, answer) in findings.answers() {
            let line = Line::of(fact, answer);
            let vain = step_of(fact).filter(|step| line.verdict >= Verdict::Unknown && tried.contains(step));
            let is_stray = fact == Fact::BucketExists && unused.is_some() && line.verdict != Verdict::Ok;
            let remedy = match vain {
                Some(step) => said_of(step).1,
                None if is_stray => CHECK_THE_NAME,
                None => line.remedy,
            };
            report.add(Line { remedy, ..line });
        }
        first.get_or_insert(findings);
    }
    if let Some(findings) = first {
        offer(config, &findings, report);
    }
    Ok(())
}

/// What is said of a bucket that was asked for by name and is none of ours: whoever mistypes it must not be told to make it.
pub(super) fn unused(args: &Args, config: &Config) -> Option<Line> {
    let name = args
        .bucket
        .as_ref()
        .filter(|name| !config.buckets.contains(*name))?;
    let ours: Vec<&str> = config.buckets.iter().map(String::as_str).collect();
    let found = format!("no: not {name}, but {}", ours.join(", "));
    let line = Line::ok(
        "reach",
        "bucket_used",
        "a collection of the main store uses the bucket",
        found,
    );
    Some(line.unless(
        false,
        Verdict::Warn,
        "no file of the main store is kept there, and no other store is looked at",
        CHECK_THE_NAME,
    ))
}

fn buckets(args: &Args, config: &Config) -> BTreeSet<String> {
    match &args.bucket {
        Some(name) => BTreeSet::from([name.clone()]),
        None => config
            .collections
            .values()
            .map(|collection| collection.bucket.clone())
            .collect(),
    }
}

/// Tells what signing offers, as a server decides it at its start. Nothing where that could not be found out.
pub(super) fn offer(config: &Config, findings: &Findings, report: &mut Report) {
    if matches!(
        findings.answer(Fact::PutAsSigned),
        None | Some(Answer::Unknown(_))
    ) {
        return;
    }
    let (methods, capabilities) = wire::offer(config, findings);
    let replaced = replaced(config.collections.values(), &methods);
    report.offer(findings, methods, capabilities, replaced);
}

/// Collections whose own method is not offered.
fn replaced<'a>(
    collections: impl Iterator<Item = &'a Collection>,
    methods: &[UploadMethod],
) -> Vec<(String, UploadMethod, UploadMethod)> {
    collections
        .map(|collection| {
            let own = collection.default_method;
            (collection.name.clone(), own, offered_instead(own, methods))
        })
        .filter(|(_, own, used)| own != used)
        .collect()
}

/// The step of the set-up that a fact depends on.
fn step_of(fact: Fact) -> Option<Step> {
    match fact {
        Fact::CorsPut | Fact::CorsPost | Fact::CorsGet | Fact::CorsExposesEtag => Some(Step::Cors),
        Fact::LifecycleNet | Fact::LifecycleAborts => Some(Step::Lifecycle),
        _ => None,
    }
}

/// What it means that a step was not done, and what to do then.
fn said_of(step: Step) -> (&'static str, &'static str) {
    match step {
        Step::Bucket => (
            "nothing can be stored",
            "let these credentials make buckets, or make it yourself",
        ),
        Step::Cors => (
            "pages in browsers cannot upload",
            "let these credentials read and write the bucket's CORS configuration, or let the origin in with the service's own tools",
        ),
        Step::Lifecycle => (
            "what the sweeper misses stays and costs money",
            "let these credentials read and write the bucket's lifecycle, or make a rule for staging/ with the service's own tools",
        ),
        Step::PublicAccess => (
            "a policy or an ACL could make files public; whether strangers read is tried below",
            "see who may set policies and ACLs there",
        ),
        Step::Encryption => (
            "files of others in this bucket are not encrypted by default; ours are asked to be",
            "set the default encryption with the service's own tools",
        ),
        Step::Notification => (
            "uploads that nobody confirms are found by the sweeper only",
            "set notifications up with the service's own tools",
        ),
    }
}

/// Sets a bucket up; the steps that were not done.
async fn fix(
    args: &Args,
    examination: &wire::Examination<'_>,
    bucket: &str,
    report: &mut Report,
) -> Vec<Step> {
    let mut plan = examination.plan(bucket);
    for origin in &args.origin {
        if !plan.cors_origins.contains(origin) && !plan.cors_origins.iter().any(|known| known == "*") {
            plan.cors_origins.push(origin.clone());
        }
    }
    report.subject("fix", format!("bucket {bucket}"), false);
    let done = match examination.set_up(&plan).await {
        Ok(done) => done,
        Err(error) => {
            let line = Line::ok(
                "bucket",
                "bucket",
                "the bucket is made and reached",
                error.to_string(),
            );
            report.add(line.unless(
                false,
                Verdict::Fail,
                "nothing was set up",
                said_of(Step::Bucket).1,
            ));
            return Vec::new();
        }
    };
    let mut not_done = Vec::new();
    for (step, outcome) in done {
        let (said, reason) = match outcome {
            Outcome::Unchanged => ("as it should be", String::new()),
            Outcome::Changed => ("set up", String::new()),
            Outcome::Skipped(reason) => ("not set up", reason),
        };
        let title = format!("{}: {said}", step.as_str());
        let holds = reason.is_empty();
        let (meaning, remedy) = said_of(step);
        report.add(Line::ok("bucket", step.as_str(), &title, reason).unless(
            holds,
            Verdict::Warn,
            meaning,
            remedy,
        ));
        if !holds {
            not_done.push(step);
        }
    }
    not_done
}

/// What our own endpoint does not have, and need not: it is no lack.
pub(super) fn is_unneeded(answer: &Answer, fact: Fact) -> bool {
    matches!(answer, Answer::Unsupported(_)) || fact == Fact::EncryptionAes256
}
