//! Bytes to and from the object store, as any client would move them: by presigned URL, without a token.

use std::collections::BTreeMap;

use reqwest::Url;
use reqwest::multipart::{Form, Part};
use serde_json::Map;

use super::steps::found;
use crate::client::api::{Api, success};
use crate::client::error::{ClientError, Result};
use crate::client::wire::{CompletedPart, UploadAnswer};

/// Reads a presigned URL.
pub async fn get(api: &Api, url: &Url) -> Result<Vec<u8>> {
    let response = api
        .http()
        .get(url.clone())
        .send()
        .await
        .map_err(ClientError::transport)?;
    let response = success(response).await?;
    Ok(response.bytes().await.map_err(ClientError::transport)?.to_vec())
}

/// Sends the whole file by presigned PUT.
pub async fn put(api: &Api, ticket: &UploadAnswer, bytes: Vec<u8>) -> Result<()> {
    let url = ticket.upload_url.as_ref().ok_or_else(|| found("no upload_url"))?;
    put_to(api, url.expose(), &ticket.headers, bytes).await.map(drop)
}

/// Sends the whole file as a form.
pub async fn post(api: &Api, ticket: &UploadAnswer, bytes: Vec<u8>) -> Result<()> {
    let url = ticket.upload_url.as_ref().ok_or_else(|| found("no upload_url"))?;
    let none = Map::new();
    let mut form = Form::new();
    for (name, value) in ticket
        .form_fields
        .as_ref()
        .map_or(&none, |fields| fields.expose())
    {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        form = form.text(name.clone(), text);
    }
    let form = form.part("file", Part::bytes(bytes).file_name("smoke-form.bin"));
    let request = api.http().post(url.expose().clone()).multipart(form);
    let response = request.send().await.map_err(ClientError::transport)?;
    success(response).await.map(drop)
}

/// Sends every part, the last one first.
pub async fn parts(api: &Api, ticket: &UploadAnswer, bytes: &[u8]) -> Result<Vec<CompletedPart>> {
    let part_size = ticket
        .part_size_bytes
        .filter(|size| *size > 0)
        .ok_or_else(|| found("no part size"))?;
    let chunks: Vec<&[u8]> = bytes.chunks(part_size as usize).collect();
    let numbers: Vec<u32> = (1..=chunks.len() as u32).collect();
    let (tickets, _) = api.sign_parts(&ticket.file_id, &numbers).await?;
    let mut parts = Vec::new();
    for part in tickets.iter().rev() {
        let chunk = chunks
            .get(part.part_number as usize - 1)
            .ok_or_else(|| found("a part that was not asked for"))?;
        let response = put_to(api, part.upload_url.expose(), &part.headers, chunk.to_vec()).await?;
        let etag = response.headers().get("etag").and_then(|etag| etag.to_str().ok());
        let etag = etag.ok_or_else(|| found("no ETag"))?.to_owned();
        parts.push(CompletedPart {
            part_number: part.part_number,
            etag,
        });
    }
    parts.reverse();
    Ok(parts)
}

async fn put_to(
    api: &Api,
    url: &Url,
    headers: &BTreeMap<String, String>,
    bytes: Vec<u8>,
) -> Result<reqwest::Response> {
    let mut request = api.http().put(url.clone());
    // The length comes with the body.
    for (name, value) in headers
        .iter()
        .filter(|(name, _)| !name.eq_ignore_ascii_case("content-length"))
    {
        request = request.header(name, value);
    }
    let response = request.body(bytes).send().await.map_err(ClientError::transport)?;
    success(response).await
}
