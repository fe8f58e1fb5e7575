//! The document against the router.

use http::Method;
use serde_json::Value;

use crate::isolation::operations;
use crate::test_app::TestApp;

/// Every operation. A line that goes away or changes breaks a client.
const OPERATIONS: &str = "\
DELETE /api/v1/admin/files/{file_id} delete_quarantined_file
DELETE /api/v1/admin/jobs/{job_id} discard_job
DELETE /api/v1/admin/operations/{operation_id} cancel_operation
DELETE /api/v1/admin/owners/{owner} delete_owner
DELETE /api/v1/admin/service-tokens/{token_id} revoke_service_token
DELETE /api/v1/files/{file_id} delete_file
DELETE /api/v1/files/{file_id}/hold release_file
DELETE /api/v1/records/{type}/{id} delete_record
DELETE /api/v1/uploads/{file_id} abort_upload
GET / get_info
GET /api/v1/admin/audit list_audit_entries
GET /api/v1/admin/garbage list_garbage
GET /api/v1/admin/jobs list_jobs
GET /api/v1/admin/operations list_operations
GET /api/v1/admin/operations/{operation_id} get_operation
GET /api/v1/admin/operations/{operation_id}/findings list_findings
GET /api/v1/admin/service-tokens list_service_tokens
GET /api/v1/admin/stores list_stores
GET /api/v1/admin/stores/{name} get_store
GET /api/v1/admin/totals get_totals
GET /api/v1/admin/wal list_wal
GET /api/v1/collections list_collections
GET /api/v1/collections/{name} get_collection
GET /api/v1/content/{file_id}/{filename} get_content
GET /api/v1/files list_files
GET /api/v1/files/{file_id} get_file
GET /api/v1/files/{file_id}/derivatives/{name} download_derivative
GET /api/v1/files/{file_id}/download download_file
GET /api/v1/files/{file_id}/status get_file_status
GET /api/v1/files/{file_id}/timeline get_file_timeline
GET /api/v1/me get_me
GET /api/v1/me/files list_my_files
GET /api/v1/me/offer get_my_offer
GET /api/v1/me/usage get_my_usage
GET /api/v1/records/{type}/{id} get_record
GET /api/v1/records/{type}/{id}/files list_record_files
GET /api/v1/uploads/{file_id}/parts get_upload_parts
GET /api/v1/variants/{file_id} get_variant
GET /docs get_docs
GET /health/live get_liveness
GET /health/ready get_readiness
GET /metrics get_metrics
GET /openapi.json get_openapi
PATCH /api/v1/files/{file_id} update_file
POST /api/v1/admin/files/{file_id}/release release_quarantined_file
POST /api/v1/admin/files/{file_id}/rescan rescan_file
POST /api/v1/admin/garbage/keep keep_garbage
POST /api/v1/admin/garbage/trash trash_garbage
POST /api/v1/admin/jobs/discard discard_jobs
POST /api/v1/admin/jobs/retry retry_jobs
POST /api/v1/admin/jobs/{job_id}/retry retry_job
POST /api/v1/admin/operations start_operation
POST /api/v1/admin/service-tokens create_service_token
POST /api/v1/bucket-events receive_bucket_events
POST /api/v1/files receive_file
POST /api/v1/files/{file_id}/archive archive_file
POST /api/v1/files/{file_id}/restore restore_file
POST /api/v1/files/{file_id}/unarchive unarchive_file
POST /api/v1/files/{file_id}/variants sign_variant
POST /api/v1/me/offer accept_my_offer
POST /api/v1/uploads sign_upload
POST /api/v1/uploads/batch sign_uploads
POST /api/v1/uploads/{file_id}/complete complete_upload
POST /api/v1/uploads/{file_id}/confirm confirm_upload
POST /api/v1/uploads/{file_id}/parts sign_upload_parts
PUT /api/v1/admin/stores/{name}/mode change_store_mode
PUT /api/v1/files/{file_id}/hold hold_file
PUT /api/v1/records/{type}/{id} put_record
";

async fn document(app: &TestApp) -> Value {
    app.get("", "/openapi.json").await.json()
}

#[tokio::test]
async fn the_operations_are_these() {
    let app = TestApp::new().await;
    let document = document(&app).await;
    let mut lines: Vec<String> = operations(&app)
        .await
        .into_iter()
        .map(|(method, path)| {
            let id = &document["paths"][&path][method.to_lowercase()]["operationId"];
            format!("{method} {path} {}\n", id.as_str().expect("an operationId"))
        })
        .collect();
    lines.sort_unstable();
    assert_eq!(lines.concat(), OPERATIONS);
}

#[tokio::test]
async fn every_operation_says_how_it_refuses() {
    let app = TestApp::new().await;
    let document = document(&app).await;
    for (method, path) in operations(&app).await {
        let operation = &document["paths"][&path][method.to_lowercase()];
        let open = operation["security"] == serde_json::json!([{}]);
        let responses = operation["responses"].as_object().expect("responses");
        assert_eq!(responses.contains_key("401"), !open, "{method} {path}");
        // What costs much is counted there as well.
        let counted = !open || operation["operationId"] == "get_variant";
        assert_eq!(responses.contains_key("429"), counted, "{method} {path}");
        if operation.get("requestBody").is_some() {
            for status in ["400", "413", "415", "422"] {
                assert!(responses.contains_key(status), "{method} {path} {status}");
            }
        }
        assert!(operation["summary"].is_string(), "{method} {path} has no summary");
        for (status, response) in responses {
            let waits = response["headers"]["Retry-After"].is_object();
            assert_eq!(
                waits,
                ["429", "503"].contains(&status.as_str()),
                "{method} {path} {status}"
            );
            if status.starts_with(['4', '5']) {
                let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/Problem", "{method} {path} {status}");
            }
            assert!(
                response["headers"]["x-request-id"].is_object(),
                "{method} {path} {status}"
            );
        }
    }
}

#[tokio::test]
async fn every_reference_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|field| references(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let app = TestApp::new().await;
    let document = document(&app).await;
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 100);
    for reference in found {
        let pointer = reference.strip_prefix('#').expect("a local reference");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn the_document_knows_its_server() {
    let mut options = crate::test_app::Options::default();
    options.http.public_url = Some("https://files.example.org".to_owned());
    let app = TestApp::with(options).await;
    let document = document(&app).await;
    assert_eq!(
        document["servers"],
        serde_json::json!([{"url": "https://files.example.org"}])
    );
    assert_eq!(document["info"]["version"], "1.2.3");
    assert_eq!(
        app.call("", Method::HEAD, "/openapi.json", None).await.status,
        200
    );
}
