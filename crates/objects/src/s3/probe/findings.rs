//! What was found, and what follows from it: capabilities of the store, and the upload methods that it enforces.

use std::collections::BTreeMap;

use cloakroom_core::ports::objects::Capabilities;
use cloakroom_core::upload::UploadMethod;

use super::facts::{Fact, Group, Weight};

/// Whether a fact holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It does.
    Holds,
    /// It does not; what was seen instead.
    Not(String),
    /// Our credentials may not do what it takes to find out; the action that was denied, such as `s3:PutObject`.
    Denied(&'static str),
    /// The service says that it has no such thing.
    Unsupported(String),
    /// It could not be found out.
    Unknown(String),
}

impl Answer {
    /// Holds if `holds`, else what was seen.
    pub(super) fn when(holds: bool, seen: impl FnOnce() -> String) -> Self {
        if holds { Self::Holds } else { Self::Not(seen()) }
    }

    /// What was seen, where it does not hold.
    pub fn seen(&self) -> &str {
        match self {
            Self::Holds => "",
            Self::Not(seen) | Self::Unsupported(seen) | Self::Unknown(seen) => seen,
            Self::Denied(action) => action,
        }
    }
}

/// The verdict in reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It does not hold, and need not.
    Unsupported,
    /// Could not be found out.
    Unknown,
    /// Somebody should look at it.
    Warn,
    /// It does not work like this.
    Fail,
}

impl Verdict {
    /// The word in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unsupported => "unsupported",
            Self::Unknown => "unknown",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// Everything that was asked, and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    answers: BTreeMap<Fact, Answer>,
    /// How the service calls itself (`Server`), if it says so.
    pub server: Option<String>,
}

/// What each method needs; it is offered only where all of it holds.
const PUT_NEEDS: [Fact; 5] = [
    Fact::PutAsSigned,
    Fact::PutBindsType,
    Fact::PutBindsLength,
    Fact::PutBindsKey,
    Fact::PutExpires,
];
const FORM_NEEDS: [Fact; 6] = [
    Fact::FormAsSigned,
    Fact::FormBindsKey,
    Fact::FormBindsType,
    Fact::FormBindsSizeMin,
    Fact::FormBindsSizeMax,
    Fact::FormExpires,
];
const PART_NEEDS: [Fact; 4] = [
    Fact::PartAsSigned,
    Fact::PartBindsNumber,
    Fact::PartBindsKey,
    Fact::PartExpires,
];

impl Findings {
    /// Notes what was found.
    pub(super) fn note(&mut self, fact: Fact, answer: Answer) {
        self.answers.insert(fact, answer);
    }

    /// Findings by which exactly the facts hold that `holds` says, and no other.
    pub(in crate::s3) fn declared(holds: impl Fn(Fact) -> bool) -> Self {
        let mut findings = Self::default();
        for fact in Fact::ALL {
            findings.note(*fact, Answer::when(holds(*fact), String::new));
        }
        findings
    }

    /// Notes that these cannot be found out, where nothing is known of them yet.
    pub(super) fn give_up(&mut self, facts: impl IntoIterator<Item = Fact>, why: &str) {
        for fact in facts {
            self.answers
                .entry(fact)
                .or_insert_with(|| Answer::Unknown(why.to_owned()));
        }
    }

    /// What was found about a fact; `None` if nobody asked.
    pub fn answer(&self, fact: Fact) -> Option<&Answer> {
        self.answers.get(&fact)
    }

    /// What was found, in the order of [`Fact::ALL`].
    pub fn answers(&self) -> impl Iterator<Item = (Fact, &Answer)> {
        self.answers.iter().map(|(fact, answer)| (*fact, answer))
    }

    /// Whether it was asked and holds.
    pub fn holds(&self, fact: Fact) -> bool {
        self.answer(fact) == Some(&Answer::Holds)
    }

    /// How bad it is.
    pub fn verdict(fact: Fact, answer: &Answer) -> Verdict {
        match (answer, fact.weight()) {
            (Answer::Holds, _) => Verdict::Ok,
            (Answer::Unknown(_), _) => Verdict::Unknown,
            (_, Weight::Fail) => Verdict::Fail,
            (Answer::Unsupported(_), _) | (Answer::Not(_), Weight::Note) => Verdict::Unsupported,
            (_, Weight::Warn) | (Answer::Denied(_), Weight::Note) => Verdict::Warn,
        }
    }

    /// Whether everything that methods need was found out, one way or the other.
    pub(super) fn is_conclusive(&self) -> bool {
        let needs = PUT_NEEDS.iter().chain(&FORM_NEEDS).chain(&PART_NEEDS);
        let unknown = |fact: &Fact| matches!(self.answer(*fact), None | Some(Answer::Unknown(_)));
        // What depends on something that was refused is not asked, and that is an answer.
        let settled = [Fact::PutAsSigned, Fact::FormAsSigned, Fact::PartAsSigned];
        !needs
            .filter(|fact| match fact.group() {
                Group::Put => **fact == settled[0] || self.holds(settled[0]),
                Group::Form => **fact == settled[1] || self.holds(settled[1]),
                _ => **fact == settled[2] || self.holds(settled[2]),
            })
            .any(unknown)
    }

    /// The worst verdict of all.
    pub fn worst(&self) -> Verdict {
        let verdicts = self.answers().map(|(fact, answer)| Self::verdict(fact, answer));
        verdicts.max().unwrap_or(Verdict::Ok)
    }

    /// The upload methods whose limits the service enforces, the preferred one first. Through the service itself always
    /// works.
    pub fn methods(&self) -> Vec<UploadMethod> {
        let all = |needs: &[Fact]| needs.iter().all(|fact| self.holds(*fact));
        UploadMethod::ALL
            .iter()
            .copied()
            .filter(|method| match method {
                UploadMethod::Put => all(&PUT_NEEDS),
                UploadMethod::Post => all(&FORM_NEEDS),
                UploadMethod::Multipart => all(&PART_NEEDS),
                UploadMethod::Stream => true,
            })
            .collect()
    }

    /// What keeps a method from being offered. Where nothing that is signed is taken, that alone.
    pub fn missing_for(&self, method: UploadMethod) -> Vec<Fact> {
        let needs: &[Fact] = match method {
            UploadMethod::Put => &PUT_NEEDS,
            UploadMethod::Post => &FORM_NEEDS,
            UploadMethod::Multipart => &PART_NEEDS,
            UploadMethod::Stream => &[],
        };
        match needs.first() {
            Some(as_signed) if !self.holds(*as_signed) => vec![*as_signed],
            _ => needs.iter().copied().filter(|fact| !self.holds(*fact)).collect(),
        }
    }

    /// What the store can do: `base`, with everything replaced that was asked.
    pub fn capabilities(&self, base: Capabilities) -> Capabilities {
        let mut found = base;
        let fields: [(&mut bool, &[Fact]); 13] = [
            (&mut found.conditional_put, &[Fact::PutIfAbsent, Fact::PutIfMatch]),
            (
                &mut found.checksums,
                &[Fact::ChecksumSha256, Fact::ChecksumsShown],
            ),
            (&mut found.computed_checksums, &[Fact::ChecksumsComputed]),
            (&mut found.uneven_parts, &[Fact::UnevenParts]),
            (&mut found.conditional_copy, &[Fact::CopyIfMatch]),
            (&mut found.conditional_copy_target, &[Fact::CopyIfAbsent]),
            (
                &mut found.conditional_completion,
                &[Fact::CompletionIfAbsent, Fact::CompletionIfMatch],
            ),
            (&mut found.part_reads, &[Fact::PartReads]),
            (&mut found.closed_uploads, &[Fact::CompletedClosed]),
            (&mut found.long_user_metadata, &[Fact::UserMetadata]),
            (&mut found.small_parts_refused, &[Fact::SmallPartsRefused]),
            (&mut found.empty_parts, &[Fact::EmptyParts]),
            (&mut found.leading_slashes, &[Fact::LeadingSlashes]),
        ];
        for (field, facts) in fields {
            let asked = |fact: &Fact| !matches!(self.answer(*fact), None | Some(Answer::Unknown(_)));
            if facts.iter().all(asked) {
                *field = facts.iter().all(|fact| self.holds(*fact));
            }
        }
        if !matches!(self.answer(FORM_NEEDS[0]), None | Some(Answer::Unknown(_))) {
            // What could not be found out of the rest is not enforced.
            found.post_policy = FORM_NEEDS.iter().all(|fact| self.holds(*fact));
        }
        found
    }
}

/// The method that a collection gets whose own is not offered: the next of its kind (put, then multipart; for forms put
/// first), and the upload through the service where nothing else is. The rule of `docs/providers.md`.
pub fn offered_instead(method: UploadMethod, offered: &[UploadMethod]) -> UploadMethod {
    let order = [
        method,
        UploadMethod::Put,
        UploadMethod::Post,
        UploadMethod::Multipart,
    ];
    let found = order.into_iter().find(|method| offered.contains(method));
    found.unwrap_or(UploadMethod::Stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::USUAL_CAPABILITIES;

    fn all_hold() -> Findings {
        let mut findings = Findings::default();
        for fact in Fact::ALL {
            findings.note(*fact, Answer::Holds);
        }
        findings
    }

    #[test]
    fn a_method_is_offered_only_with_all_that_it_needs() {
        assert_eq!(all_hold().methods(), UploadMethod::ALL);
        assert_eq!(
            Findings::default().methods(),
            [UploadMethod::Stream],
            "nobody asked"
        );
        for (needs, method) in [
            (&PUT_NEEDS[..], UploadMethod::Put),
            (&FORM_NEEDS[..], UploadMethod::Post),
            (&PART_NEEDS[..], UploadMethod::Multipart),
        ] {
            for fact in needs {
                for answer in [
                    Answer::Not(String::new()),
                    Answer::Unknown(String::new()),
                    Answer::Unsupported(String::new()),
                    Answer::Denied("s3:PutObject"),
                ] {
                    let mut findings = all_hold();
                    findings.note(*fact, answer);
                    assert!(!findings.methods().contains(&method), "{fact:?}");
                    assert_eq!(findings.methods().len(), 3, "{fact:?}");
                    assert_eq!(findings.missing_for(method), [*fact]);
                }
            }
        }
    }

    #[test]
    fn capabilities_change_where_something_was_found() {
        let base = USUAL_CAPABILITIES;
        assert_eq!(Findings::default().capabilities(base), base);
        let all = all_hold().capabilities(base);
        assert!(all.checksums && all.conditional_copy && all.part_reads && !all.generations);
        let mut findings = all_hold();
        findings.note(Fact::PutIfMatch, Answer::Not(String::new()));
        findings.note(Fact::CopyIfMatch, Answer::Unknown(String::new()));
        findings.note(Fact::FormAsSigned, Answer::Not(String::new()));
        findings.note(Fact::FormBindsKey, Answer::Unknown(String::new()));
        let found = findings.capabilities(base);
        assert!(!found.conditional_put, "both are needed");
        assert!(!found.post_policy, "no form is taken");
        assert_eq!(found.conditional_copy, base.conditional_copy, "not found out");
    }

    #[test]
    fn a_collection_falls_to_the_next_method() {
        use UploadMethod::{Multipart, Post, Put, Stream};
        let table = [
            (Post, &[Put, Post, Multipart, Stream][..], Post),
            (Post, &[Put, Multipart, Stream], Put),
            (Put, &[Post, Stream], Post),
            (Put, &[Multipart, Stream], Multipart),
            (Multipart, &[Put, Stream], Put),
            (Multipart, &[Stream], Stream),
            (Stream, &[Put, Stream], Stream),
        ];
        for (method, offered, expected) in table {
            assert_eq!(
                offered_instead(method, offered),
                expected,
                "{method:?} of {offered:?}"
            );
        }
    }

    #[test]
    fn verdicts_follow_from_weight() {
        let not = Answer::Not(String::new());
        assert_eq!(Findings::verdict(Fact::PutBindsKey, &not), Verdict::Fail);
        assert_eq!(Findings::verdict(Fact::FormBindsKey, &not), Verdict::Warn);
        assert_eq!(Findings::verdict(Fact::ChecksumCrc32, &not), Verdict::Unsupported);
        assert_eq!(
            Findings::verdict(Fact::MayReadCors, &Answer::Denied("s3:GetBucketCORS")),
            Verdict::Warn
        );
        assert_eq!(all_hold().worst(), Verdict::Ok);
    }
}
