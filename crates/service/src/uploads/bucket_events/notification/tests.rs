use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read_json(value: &Value) -> Result<Notification, Refusal> {
    parse(value.to_string().as_bytes())
}

fn one(what: Happening, key: &str) -> Notification {
    Notification::Records(vec![Record {
        what,
        bucket: "bucket".to_owned(),
        key: key.to_owned(),
    }])
}

fn s3(source: &str, name: &str, key: &str) -> Value {
    json!({"Records": [{
        "eventVersion": "2.1",
        "eventSource": source,
        "eventName": name,
        "s3": {"s3SchemaVersion": "1.0", "bucket": {"name": "bucket"}, "object": {"key": key, "size": 3}},
    }]})
}

fn reason(value: &Value) -> String {
    let refusal = read_json(value).expect_err("refused");
    assert_eq!(refusal.code, ErrorCode::MalformedBody);
    refusal.message
}

#[test]
fn records_of_every_store() {
    for (source, name, what) in [
        ("aws:s3", "ObjectCreated:Put", Happening::Created),
        (
            "aws:s3",
            "ObjectCreated:CompleteMultipartUpload",
            Happening::Created,
        ),
        ("aws:s3", "s3:ObjectCreated:Post", Happening::Created),
        ("minio:s3", "s3:ObjectCreated:Put", Happening::Created),
        ("ceph:s3", "ObjectCreated:Copy", Happening::Created),
        ("ceph:s3", "ObjectSynced:Create", Happening::Created),
        ("ceph:s3", "ObjectSynced:Delete", Happening::Other),
        ("aws:s3", "ObjectRemoved:Delete", Happening::Removed),
        (
            "ceph:s3",
            "ObjectLifecycle:Expiration:Current",
            Happening::Removed,
        ),
        ("aws:s3", "LifecycleExpiration:Delete", Happening::Removed),
        ("aws:s3", "ObjectTagging:Put", Happening::Other),
        ("aws:s3", "", Happening::Other),
        ("aws:ses", "ObjectCreated:Put", Happening::Other),
    ] {
        let expected = match what {
            Happening::Other => Notification::Records(vec![other()]),
            _ => one(what, "a/b"),
        };
        assert_eq!(
            read_json(&s3(source, name, "a/b")).expect("read"),
            expected,
            "{source} {name}"
        );
    }
}

#[test]
fn minio_with_and_without_records() {
    let mut whole = s3("minio:s3", "s3:ObjectCreated:Put", "a%2Fb");
    whole["EventName"] = "s3:ObjectCreated:Put".into();
    whole["Key"] = "bucket/a/b".into();
    assert_eq!(read_json(&whole).expect("read"), one(Happening::Created, "a%2Fb"));
    whole["Records"] = Value::Null;
    assert_eq!(read_json(&whole).expect("read"), one(Happening::Created, "a/b"));
}

#[test]
fn envelopes() {
    let inner = s3("aws:s3", "ObjectCreated:Put", "k");
    let created = one(Happening::Created, "k");
    let sns = json!({"Type": "Notification", "TopicArn": "arn:t", "Message": inner.to_string()});
    let cloud = |data: Value| json!({"specversion": "1.0", "type": "x", "source": "y", "data": data});
    for message in [
        sns.clone(),
        json!({"Type": "Notification", "Message": inner}),
        cloud(inner.clone()),
        cloud(inner["Records"][0].clone()),
        cloud(sns.to_string().into()),
        json!({"specversion": "1.0", "data_base64": STANDARD.encode(inner.to_string())}),
        json!({"Type": "Notification", "Message": sns.to_string()}),
    ] {
        assert_eq!(read_json(&message).expect("read"), created, "{message}");
    }
    let test = json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "bucket"});
    assert_eq!(read_json(&test).expect("read"), Notification::Test);
    let wrapped = json!({"Type": "Notification", "Message": test.to_string()});
    assert_eq!(read_json(&wrapped).expect("read"), Notification::Test);
    let subscription =
        json!({"Type": "SubscriptionConfirmation", "TopicArn": "arn:t", "SubscribeURL": "http://x"});
    assert_eq!(
        read_json(&subscription).expect("read"),
        Notification::Subscription {
            topic: "arn:t".to_owned()
        }
    );
}

#[test]
fn eventbridge() {
    let event = |source: &str, kind: &str| {
        json!({
            "version": "0", "source": source, "detail-type": kind,
            "detail": {"bucket": {"name": "bucket"}, "object": {"key": "a b+c"}, "reason": "PutObject"},
        })
    };
    let read = |source, kind| read_json(&event(source, kind)).expect("read");
    assert_eq!(read("aws.s3", "Object Created"), one(Happening::Created, "a b+c"));
    assert_eq!(read("aws.s3", "Object Deleted"), one(Happening::Removed, "a b+c"));
    let ignored = Notification::Records(vec![other()]);
    assert_eq!(read("aws.s3", "Object Tags Added"), ignored);
    assert_eq!(read("aws.ec2", "Object Created"), ignored);
}

#[test]
fn refusals_say_what_is_wrong() {
    for (message, words) in [
        (json!([]), "JSON object"),
        (json!({}), "no bucket event"),
        (json!({"Records": {}}), "not a list"),
        (json!({"Records": [1]}), "not a JSON object"),
        (json!({"Records": [{}]}), "eventName"),
        (
            json!({"Records": [{"eventName": "ObjectCreated:Put"}]}),
            "s3.bucket.name",
        ),
        (
            json!({"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "b"}}}]}),
            "s3.object.key",
        ),
        (
            json!({"EventName": "s3:ObjectCreated:Put", "Key": "bucket"}),
            "no Key",
        ),
        (json!({"Type": "Notification"}), "no Message"),
        (json!({"Type": "Notification", "Message": "{"}), "not JSON"),
        (json!({"specversion": "1.0"}), "no data"),
        (json!({"specversion": "1.0", "data_base64": "*"}), "base64"),
        (json!({"detail": {}}), "detail-type"),
        (
            json!({"detail": {}, "detail-type": "Object Created"}),
            "detail.bucket.name",
        ),
        (
            json!({"Records": vec![json!({}); RECORDS_MAX + 1]}),
            "at most 1000",
        ),
    ] {
        let found = reason(&message);
        assert!(found.contains(words), "{words}: {found}");
    }
    assert!(parse(b"\xff").expect_err("refused").message.contains("not JSON"));
}

#[test]
fn size_and_depth_are_bounded() {
    let long = vec![b' '; BUCKET_EVENTS_BYTES_MAX + 1];
    assert_eq!(parse(&long).expect_err("refused").code, ErrorCode::BodyTooLarge);
    let deep = "[".repeat(100_000);
    assert_eq!(
        parse(deep.as_bytes()).expect_err("refused").code,
        ErrorCode::MalformedBody
    );
    let mut message = s3("aws:s3", "ObjectCreated:Put", "k");
    for _ in 0..ENVELOPES_MAX {
        message = json!({"Type": "Notification", "Message": message});
    }
    assert!(read_json(&message).is_ok());
    let message = json!({"Type": "Notification", "Message": message});
    assert!(reason(&message).contains("envelopes"));
}

/// JSON that is nearly a bucket event: its words in the wrong places.
fn nearly() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "aws:s3",
        "ceph:s3",
        "ObjectCreated:Put",
        "s3:ObjectRemoved:Delete",
        "s3:TestEvent",
        "Notification",
        "SubscriptionConfirmation",
        "aws.s3",
        "Object Created",
        "bucket/staging/x",
        "{\"Records\":[]}",
        "1.0",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        words.prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        let names = prop::sample::select(vec![
            "Records",
            "eventSource",
            "eventName",
            "s3",
            "bucket",
            "name",
            "object",
            "key",
            "Event",
            "EventName",
            "Key",
            "Type",
            "Message",
            "TopicArn",
            "source",
            "detail-type",
            "detail",
            "specversion",
            "data",
            "data_base64",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(names.prop_map(str::to_owned), inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn reading_is_total(bytes in any::<Vec<u8>>(), text in ".{0,200}") {
        prop_assert!(parse(&bytes).is_err() || std::str::from_utf8(&bytes).is_ok());
        let _ = parse(text.as_bytes());
    }

    #[test]
    fn reading_what_is_nearly_an_event_is_total(value in nearly(), cut in 0_usize..400) {
        let text = value.to_string();
        match parse(text.as_bytes()) {
            Ok(Notification::Records(records)) => prop_assert!(records.len() <= RECORDS_MAX),
            Ok(_) => {}
            Err(refusal) => prop_assert!(matches!(refusal.code, ErrorCode::MalformedBody | ErrorCode::BodyTooLarge)),
        }
        let bytes = text.as_bytes();
        let _ = parse(&bytes[..cut.min(bytes.len())]);
    }
}
