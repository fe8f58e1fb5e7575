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
        let remedy = match (answer, fact) {
            (Answer::Denied(_), Fact::PutAsSigned | Fact::FormAsSigned | Fact::PartAsSigned) => {
                "allow s3:PutObject on the bucket's objects to the credentials that sign uploads (s3.upload_access_key, else s3.access_key)"
            }
            (Answer::Denied(_), Fact::GetAsSigned) => "allow s3:GetObject on the bucket's objects",
            _ => fact.remedy(),
        };
        Self {
            group: fact.group().as_str(),
            check: fact.as_str(),
            title: fact.title().to_owned(),
            verdict,
            found,
            meaning: told(fact.meaning()),
            remedy: told(remedy),
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

/// As many lines that could not be found out for the same reason are told as one.
const FOLD_FROM: usize = 3;

impl Subject {
    /// The reasons why many things could not be found out, and how many: a failure must not drown in what follows from it.
    fn folded(&self) -> BTreeMap<&str, usize> {
        let mut reasons = BTreeMap::new();
        for line in self.lines.iter().filter(|line| line.verdict == Verdict::Unknown) {
            *reasons.entry(line.found.as_str()).or_default() += 1;
        }
        reasons.retain(|_, count| *count >= FOLD_FROM);
        reasons
    }
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
            let folded = subject.folded();
            for line in &subject.lines {
                if subject.brief && matches!(line.verdict, Verdict::Ok | Verdict::Unsupported)
                    || line.verdict == Verdict::Unknown && folded.contains_key(line.found.as_str())
                {
                    continue;
                }
                if line.group != group {
                    group = line.group;
                    let _ = writeln!(text, "  {group}");
                }
                write_line(&mut text, line);
            }
            for (why, count) in folded {
                let _ = writeln!(text, "    unknown      {count} more: {why}");
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
        self.write_to_do(&mut text);
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let (warnings, failures) = (self.count(Verdict::Warn), self.count(Verdict::Fail));
        let _ = writeln!(
            text,
            "{} ok, {} unsupported, {} unknown, {warnings} warning{}, {failures} failure{}",
            self.count(Verdict::Ok),
            self.count(Verdict::Unsupported),
            self.count(Verdict::Unknown),
            plural(warnings),
            plural(failures)
        );
        text
    }

    /// Every remedy once, the failures' first: whoever scrolled past the lines finds them together.
    fn write_to_do(&self, text: &mut String) {
        let mut remedies: Vec<(Verdict, &str, Vec<&str>)> = Vec::new();
        for verdict in [Verdict::Fail, Verdict::Warn] {
            for line in self
                .lines()
                .filter(|line| line.verdict == verdict && !line.remedy.is_empty())
            {
                match remedies.iter_mut().find(|(_, remedy, _)| *remedy == line.remedy) {
                    Some((_, _, checks)) if checks.contains(&line.check) => {}
                    Some((_, _, checks)) => checks.push(line.check),
                    None => remedies.push((verdict, line.remedy, vec![line.check])),
                }
            }
        }
        if remedies.is_empty() {
            return;
        }
        text.push_str("to do\n");
        for (verdict, remedy, checks) in remedies {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {:<6} {remedy} ({})", verdict.as_str(), checks.join(", "));
        }
        text.push('\n');
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
        assert!(report.fails() && text.ends_with("to do\n  fail   renew it (version)\n\n1 ok, 0 unsupported, 0 unknown, 0 warnings, 1 failure\n"));
        let json: Value = serde_json::from_str(&report.json()).expect("JSON");
        assert_eq!(json["verdict"], "fail");
        assert_eq!(json["subjects"][0]["checks"][1]["remedy"], "renew it");
    }

    #[test]
    fn what_follows_from_a_failure_does_not_hide_it() {
        let mut report = Report::default();
        report.subject("store", "S3", false);
        let unknown = |why: &str| Line {
            verdict: Verdict::Unknown,
            ..Line::ok("reach", "clock", "clocks agree", why)
        };
        for _ in 0..FOLD_FROM {
            report.add(unknown("not asked"));
        }
        report.add(unknown("no date"));
        let text = report.text();
        assert!(text.contains("    unknown      3 more: not asked\n"), "{text}");
        assert!(
            text.contains("    unknown      clocks agree (no date)\n") && !text.contains("agree (not asked)"),
            "{text}"
        );
        assert!(report.json().matches("not asked").count() == FOLD_FROM);
    }
}
