//! Processors of the operator's own.

use cloakroom_worker::processors::own::Call;

use super::*;

const TWO: &str = "\
[processing]
timeout = \"40s\"

[processors.ocr]
command = [\"/usr/bin/ocr\", \"{input}\"]
content_types = [\"image/*\", \"application/pdf\"]
reads = [\"/opt/models\"]
memory = \"1GiB\"

[processors.speech]
url = \"https://speech.test/hush-hush\"
secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"
timeout = \"5m\"

[collections.letters]
processors = [\"image\", \"ocr\"]
required_processors = [\"ocr\"]
";

#[test]
fn a_processor_is_a_program_or_an_endpoint() {
    let config = fixture().file("cloakroom.toml", TWO).load();
    let own = config.own_processors();
    let [ocr, speech] = &own[..] else {
        panic!("{own:?}");
    };
    let Call::Command(command) = &ocr.call else {
        panic!("{ocr:?}");
    };
    assert_eq!(command.argv, ["/usr/bin/ocr", "{input}"]);
    assert_eq!(ocr.limits.wall.as_secs(), 40);
    assert_eq!(ocr.limits.memory_bytes, 1 << 30);
    assert!(!command.network);
    assert!(matches!(speech.call, Call::Endpoint { .. }));
    assert_eq!(speech.limits.wall.as_secs(), 300);
    assert!(!format!("{own:?} {:?}", config.origins).contains("hush-hush"));
    assert_eq!(
        value_and_source(&config, "processors.ocr.timeout"),
        ("40s".into(), "processing.timeout".into())
    );
    assert_eq!(
        value_and_source(&config, "processors.ocr.memory"),
        ("1GiB".into(), "cloakroom.toml:8".into())
    );
    assert_eq!(config.collections["letters"].processors, ["image", "ocr"]);
}

#[test]
fn the_environment_changes_fields_of_those_that_the_file_names() {
    let config = fixture()
        .file("cloakroom.toml", TWO)
        .environment("CLOAKROOM_PROCESSORS_OCR_NETWORK", "true")
        .load();
    assert_eq!(
        value_and_source(&config, "processors.ocr.network"),
        (
            "true".into(),
            "environment CLOAKROOM_PROCESSORS_OCR_NETWORK".into()
        )
    );
}

#[test]
fn every_contradiction_names_its_key() {
    let url = "url = \"https://a.test\"\n";
    let secret = "secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n";
    let command = "command = [\"/bin/x\"]\n";
    let table = [
        (
            "[processors.image]\n".to_owned(),
            "processors.image is one of this program; name yours otherwise",
        ),
        (
            "[processors.Ocr]\n".to_owned(),
            "cloakroom.toml:1: a processor cannot be named \"Ocr\"; use at most 63 lower-case letters, digits and hyphens",
        ),
        (
            format!("[processors.ocr]\ncomand = \"x\"\n{command}"),
            "cloakroom.toml:2: unknown key \"processors.ocr.comand\"; did you mean \"processors.ocr.command\"?",
        ),
        (
            "[processors.ocr]\n".to_owned(),
            "processors.ocr.command is not set, and url is not either: one of them is needed",
        ),
        (
            format!("[processors.ocr]\n{command}{url}{secret}"),
            "processors.ocr.command is set, and url as well: remove one of them",
        ),
        (
            "[processors.ocr]\ncommand = [\"ocr\"]\n".to_owned(),
            "processors.ocr.command must begin with the absolute path of a program",
        ),
        (
            format!("[processors.ocr]\n{url}"),
            "processors.ocr.secret is not set: requests to url are signed with it",
        ),
        (
            format!("[processors.ocr]\n{url}{secret}network = true\n"),
            "processors.ocr.network is set, and belongs to a command",
        ),
        (
            format!("[processors.ocr]\n{command}allow_private = true\n"),
            "processors.ocr.allow_private is set, and belongs to a url",
        ),
        (
            format!("[processors.ocr]\n{command}reads = [\"models\"]\n"),
            "processors.ocr.reads must hold absolute paths",
        ),
        (
            format!("[processors.ocr]\n{command}content_types = [\"image\"]\n"),
            "processors.ocr.content_types holds \"image\", which is not one",
        ),
        (
            format!("[processors.ocr]\n{command}timeout = \"2h\"\n"),
            "processors.ocr.timeout must be from 1s to 1h",
        ),
        (
            format!("[processors.ocr]\nurl = \"http://10.0.0.1/\"\n{secret}"),
            "processors.ocr.url must be an https address (allow_private allows http)",
        ),
        (
            "[collections.letters]\nprocessors = [\"ocr\"]\n".to_owned(),
            "collections.letters.processors names \"ocr\"; this version has document, image, media, table",
        ),
    ];
    for (text, expected) in table {
        let problems = fixture().file("cloakroom.toml", &text).problems();
        assert_eq!(problems, [expected], "{text}");
    }
}
