//! A server signs only what its store was found to enforce.

use serde_json::{Value, json};

use crate::home::Home;

async fn sign(ready: &Value, collection: &str, method: Option<&str>) -> (u16, Value) {
    let mut upload = json!({ "collection": collection, "filename": "a.jpg", "content_type": "image/jpeg", "size_bytes": 10 });
    if let Some(method) = method {
        upload["method"] = method.into();
    }
    let url = format!("{}/api/v1/uploads", ready["api_url"].as_str().unwrap());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client
        .post(url)
        .bearer_auth(ready["user_token"].as_str().unwrap().trim())
        .json(&upload)
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_signed_for_a_store_that_verifies_nothing() {
    let home = Home::moto();
    let (_server, ready) = home.serve().await;
    for method in ["put", "post", "multipart"] {
        let (status, answer) = sign(&ready, "files", Some(method)).await;
        assert_eq!(
            answer["error_code"], "method_not_offered",
            "{method}: {status} {answer}"
        );
        assert_eq!(answer["details"]["offered"], json!(["stream"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_gets_the_next_method_where_forms_are_not_enforced() {
    let home = Home::ceph().with(&[("CLOAKROOM_S3_CAPABILITIES", "post_policy=false")]);
    let (_server, ready) = home.serve().await;
    let (_, answer) = sign(&ready, "attachments", Some("post")).await;
    assert_eq!(answer["error_code"], "method_not_offered", "{answer}");
    let (status, answer) = sign(&ready, "attachments", None).await;
    assert_eq!(
        (status, answer["method"].as_str()),
        (201, Some("put")),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_signed_for_ceph_even_if_only_clients_reach_its_public_address() {
    let home = Home::ceph().with(&[("S3_PRESIGN_ENDPOINT", "http://127.0.0.1:9")]);
    let (_server, ready) = home.serve().await;
    for method in ["put", "post", "multipart"] {
        let (status, answer) = sign(&ready, "files", Some(method)).await;
        assert_eq!(status, 201, "{method}: {answer}");
    }
}
