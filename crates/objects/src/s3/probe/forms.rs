//! Forms with a POST policy: every condition of the policy that we sign, broken one by one.

use cloakroom_core::ports::objects::ObjectPath;
use cloakroom_core::ports::signer::{SignedForm, UploadConstraints};
use jiff::Timestamp;

use super::EXPIRES_SECONDS;
use super::caller::{Caller, Reply, pair, refused, seen, succeeded};
use super::facts::Fact;
use super::findings::{Answer, Findings};
use super::puts::{as_signed, constraints};

/// The smallest and largest file of the form.
const SIZES: (u64, u64) = (5, 20);
const FILE: &[u8] = b"ten bytes\n";
/// One that is not the default, which is 204.
const STATUS: u16 = 201;

/// Asks everything about them.
pub(super) async fn ask(caller: &Caller<'_>, findings: &mut Findings) {
    let target = caller.target;
    let sign = |name: &str, now: Timestamp| -> Result<SignedForm, String> {
        let path = ObjectPath::new(&target.bucket, caller.key(name));
        let constraints = UploadConstraints {
            size_bytes: None,
            size_bytes_range: SIZES,
            success_action_status: STATUS,
            ..constraints(0)
        };
        target
            .signer
            .post(&path, &constraints, EXPIRES_SECONDS, now)
            .map_err(|error| error.to_string())
    };
    let now = target.now();
    let post = async |name: &str, changed: &[(String, String)], file: &[u8]| -> Reply {
        caller.post_form(&sign(name, now)?, changed, file).await
    };

    let taken = post("form", &[], FILE).await;
    findings.note(Fact::FormAsSigned, as_signed(&taken, "s3:PutObject"));
    if !succeeded(&taken) {
        let rest = [
            Fact::FormBindsKey,
            Fact::FormBindsType,
            Fact::FormBindsSizeMin,
            Fact::FormBindsSizeMax,
            Fact::FormExpires,
            Fact::FormRefusesFields,
            Fact::FormBindsStatus,
            Fact::FormAnswersStatus,
        ];
        findings.give_up(rest, "what is signed is not taken either");
        return;
    }
    let answered = matches!(&taken, Ok(answer) if answer.status.as_u16() == STATUS);
    findings.note(
        Fact::FormAnswersStatus,
        Answer::when(answered, || format!("{} instead of {STATUS}", seen(&taken))),
    );

    let elsewhere = caller.key("form-elsewhere");
    let broken = [
        (Fact::FormBindsKey, "form-key", vec![pair("key", elsewhere)], FILE),
        (
            Fact::FormBindsType,
            "form-type",
            vec![pair("content-type", "text/html")],
            FILE,
        ),
        (Fact::FormBindsSizeMin, "form-small", vec![], b"four".as_slice()),
        (
            Fact::FormBindsSizeMax,
            "form-large",
            vec![],
            b"twenty-one bytes long".as_slice(),
        ),
        (
            Fact::FormRefusesFields,
            "form-field",
            vec![pair("x-amz-meta-probe", "1")],
            FILE,
        ),
        (
            Fact::FormBindsStatus,
            "form-status",
            vec![pair("success_action_status", "200")],
            FILE,
        ),
    ];
    for (fact, name, changed, file) in broken {
        findings.note(fact, refused(&post(name, &changed, file).await));
    }
    let late = match sign("form-late", target.long_ago()) {
        Ok(form) => caller.post_form(&form, &[], FILE).await,
        Err(reason) => Err(reason),
    };
    findings.note(Fact::FormExpires, refused(&late));
}
