//! What the doctor says: a table for people, a document for machines.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use cloakroom_core::ports::objects::Capabilities;
use cloakroom_core::upload::UploadMethod;
use cloakroom_objects::s3::probe::{Answer, Fact, Findings, Verdict};
use serde_json::{Value, json};

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Which part of it: `presigned PUT`.
    pub(super) group: &'static str,
    /// The name for machines.
    pub(super) check: &'static str,
    /// What should hold.
    pub(super) title: String,
    pub(super) verdict: Verdict,
    /// What was seen.
    pub(super) found: String,
    /// What it means, where it does not hold.
    pub(super) meaning: &'static str,
    /// What to do about it.
    pub(super) remedy: &'static str,
}

impl Line {
    /// Something that is as it should be.
    pub(super) fn ok(
        group: &'static str,
        check: &'static str,
        title: &str,
        found: impl Into<String>,
    ) -> Self {
        Self {
            group,
            check,
            title: title.to_owned(),
            verdict: Verdict::Ok,
            found: found.into(),
            meaning: "",
            remedy: "",
        }
    }

    /// The same, if it is not as it should be.
    pub(super) fn unless(
        self,
        holds: bool,
        verdict: Verdict,
        meaning: &'static str,
        remedy: &'static str,
    ) -> Self {
        if holds {
            return self;
        }
        Self {
            verdict,
            meaning,
            remedy,
            ..self
        }
    }

    /// What a probe found.
    pub(super) fn of(fact: Fact, answer: &Answer) -> Self {
        let verdict = Findings::verdict(fact, answer);
        let found = match answer {
            Answer::Holds => String::new(),
            Answer::Denied(action) => format!("denied: {action}"),
            Answer::Not(seen) | Answer::Unsupported(seen) => format!("no: {seen}"),
            Answer::Unknown(why) => why.clone(),
        };
        let told = |text| if verdict == Verdict::Ok { "" } else { text };
        Self {
            group: fact.group().as_str(),
            check: fact.as_str(),
            title: fact.title().to_owned(),
            verdict,
            found,
            meaning: told(fact.meaning()),
            remedy: told(fact.remedy()),
        }
    }
}

/// Lines about one thing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Subject {
    kind: &'static str,
    name: String,
    lines: Vec<Line>,
    /// Only what is not as it should be is written for people: the rest was said of another one already.
    brief: bool,
}

/// Everything that was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    subjects: Vec<Subject>,
    offer: Option<Offer>,
}

/// What signing offers with this store.
#[derive(Clone, Debug)]
struct Offer {
    methods: Vec<UploadMethod>,
    missing: BTreeMap<&'static str, Vec<Fact>>,
    capabilities: Capabilities,
    /// Collections whose own method is not offered, with it and the one that is used instead.
    replaced: Vec<(String, UploadMethod, UploadMethod)>,
}

impl Report {
    /// Begins a subject: `database`, `PostgreSQL at ...`.
    pub(super) fn subject(&mut self, kind: &'static str, name: impl Into<String>, brief: bool) {
        self.subjects.push(Subject {
            kind,
            name: name.into(),
            lines: Vec::new(),
            brief,
        });
    }

    /// Adds to the last subject.
    pub(super) fn add(&mut self, line: Line) {
        if let Some(subject) = self.subjects.last_mut() {
            subject.lines.push(line);
        }
    }

    /// Adds what a probe found.
    pub(super) fn add_findings(&mut self, findings: &Findings) {
        for (fact, answer) in findings.answers() {
            self.add(Line::of(fact, answer));
        }
    }

    /// Tells what is offered with this store.
    pub(super) fn offer(
        &mut self,
        findings: &Findings,
        methods: Vec<UploadMethod>,
        capabilities: Capabilities,
        replaced: Vec<(String, UploadMethod, UploadMethod)>,
    ) {
        let missing = UploadMethod::ALL
            .iter()
            .filter(|method| !methods.contains(method))
            .map(|method| (method.as_str(), findings.missing_for(*method)))
            .collect();
        self.offer = Some(Offer {
            methods,
            missing,
            capabilities,
            replaced,
        });
    }

    fn lines(&self) -> impl Iterator<Item = &Line> {
        self.subjects.iter().flat_map(|subject| &subject.lines)
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.lines().filter(|line| line.verdict == verdict).count()
    }

    /// Whether anything fails.
    pub(super) fn fails(&self) -> bool {
        self.count(Verdict::Fail) > 0
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        for subject in &self.subjects {
            let _ = writeln!(text, "{}: {}", subject.kind, subject.name);
            let mut group = "";
            for line in &subject.lines {
                if subject.brief && matches!(line.verdict, Verdict::Ok | Verdict::Unsupported) {
                    continue;
                }
                if line.group != group {
                    group = line.group;
                    let _ = writeln!(text, "  {group}");
                }
                write_line(&mut text, line);
            }
            if subject.brief {
                let fine = subject.lines.iter().filter(|line| line.verdict == Verdict::Ok);
                let _ = writeln!(text, "    ok           {} more", fine.count());
            }
            text.push('\n');
        }
        if let Some(offer) = &self.offer {
            offer.write(&mut text);
        }
        let _ = writeln!(
            text,
            "{} ok, {} unsupported, {} unknown, {} warnings, {} failures",
            self.count(Verdict::Ok),
            self.count(Verdict::Unsupported),
            self.count(Verdict::Unknown),
            self.count(Verdict::Warn),
            self.count(Verdict::Fail)
        );
        text
    }

    /// For machines.
    pub(super) fn json(&self) -> String {
        let lines = |subject: &Subject| -> Vec<Value> {
            let line = |line: &Line| {
                json!({
                    "group": line.group,
                    "check": line.check,
                    "title": line.title,
                    "verdict": line.verdict.as_str(),
                    "found": line.found,
                    "meaning": line.meaning,
                    "remedy": line.remedy,
                })
            };
            subject.lines.iter().map(line).collect()
        };
        let subjects: Vec<Value> = self
            .subjects
            .iter()
            .map(|subject| json!({ "kind": subject.kind, "name": subject.name, "checks": lines(subject) }))
            .collect();
        let worst = self.lines().map(|line| line.verdict).max();
        let document = json!({
            "verdict": worst.unwrap_or(Verdict::Ok).as_str(),
            "subjects": subjects,
            "store": self.offer.as_ref().map(Offer::json),
        });
        format!("{document:#}\n")
    }
}

fn write_line(text: &mut String, line: &Line) {
    let (verdict, title) = (line.verdict.as_str(), &line.title);
    let found = if line.found.is_empty() {
        String::new()
    } else {
        format!(" ({})", line.found)
    };
    let _ = writeln!(text, "    {verdict:<12} {title}{found}");
    if matches!(line.verdict, Verdict::Warn | Verdict::Fail) {
        for (label, said) in [("means", line.meaning), ("do", line.remedy)] {
            if !said.is_empty() {
                let _ = writeln!(text, "                 {label}: {said}");
            }
        }
    }
}

/// The names as `s3.capabilities` takes them.
fn capability_names(capabilities: &Capabilities) -> [(&'static str, bool); 8] {
    [
        ("post_policy", capabilities.post_policy),
        ("conditional_put", capabilities.conditional_put),
        ("conditional_copy", capabilities.conditional_copy),
        ("conditional_copy_target", capabilities.conditional_copy_target),
        ("conditional_completion", capabilities.conditional_completion),
        ("checksums", capabilities.checksums),
        ("uneven_parts", capabilities.uneven_parts),
        ("part_reads", capabilities.part_reads),
    ]
}

impl Offer {
    fn write(&self, text: &mut String) {
        let names: Vec<_> = self.methods.iter().map(|method| method.as_str()).collect();
        let _ = writeln!(text, "upload methods that are offered: {}", names.join(", "));
        for (method, missing) in &self.missing {
            let missing: Vec<_> = missing.iter().map(|fact| fact.as_str()).collect();
            let why = if missing.is_empty() {
                "s3.capabilities says so".to_owned()
            } else {
                format!("the store does not pass {}", missing.join(", "))
            };
            let _ = writeln!(text, "  not {method}: {why}");
        }
        for (collection, own, used) in &self.replaced {
            let (own, used) = (own.as_str(), used.as_str());
            let _ = writeln!(text, "  collection {collection}: {used} is used instead of {own}");
        }
        let capabilities: Vec<_> = capability_names(&self.capabilities)
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let _ = writeln!(text, "capabilities: {}\n", capabilities.join(","));
    }

    fn json(&self) -> Value {
        let names = |facts: &Vec<Fact>| facts.iter().map(|fact| fact.as_str()).collect::<Vec<_>>();
        let missing: BTreeMap<_, _> = self
            .missing
            .iter()
            .map(|(method, facts)| (*method, names(facts)))
            .collect();
        let replaced: BTreeMap<_, _> = self
            .replaced
            .iter()
            .map(|(collection, own, used)| {
                (
                    collection,
                    json!({ "method": own.as_str(), "used": used.as_str() }),
                )
            })
            .collect();
        let methods: Vec<_> = self.methods.iter().map(|method| method.as_str()).collect();
        json!({
            "upload_methods": methods,
            "not_offered": missing,
            "collections": replaced,
            "capabilities": BTreeMap::from(capability_names(&self.capabilities)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_to_do_only_where_something_is_to_be_done() {
        let line = || Line::ok("server", "version", "the server is new enough", "15.8");
        let mut report = Report::default();
        report.subject("database", "PostgreSQL", false);
        report.add(line());
        assert!(!report.fails());
        assert!(
            report
                .text()
                .contains("ok           the server is new enough (15.8)\n")
        );
        report.add(line().unless(false, Verdict::Fail, "nothing works", "renew it"));
        let text = report.text();
        assert!(
            text.contains("means: nothing works\n") && text.contains("do: renew it\n"),
            "{text}"
        );
        assert!(report.fails() && text.ends_with("1 ok, 0 unsupported, 0 unknown, 0 warnings, 1 failures\n"));
        let json: Value = serde_json::from_str(&report.json()).expect("JSON");
        assert_eq!(json["verdict"], "fail");
        assert_eq!(json["subjects"][0]["checks"][1]["remedy"], "renew it");
    }
}
