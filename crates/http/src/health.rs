//! Whether the process lives and whether it can work; and what it is.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use cloakroom_core::error::ErrorCode;
use cloakroom_core::ports::objects::Circuit;
use cloakroom_service::health::Probe;
use serde::Serialize;
use utoipa::ToSchema;

use crate::problem::{Problem, Result};
use crate::state::HttpState;

/// A store's mode, for whoever asks whether it can be worked in.
#[derive(Serialize, ToSchema)]
#[schema(as = StoreHealth)]
pub struct StoreHealthBody {
    /// Its name.
    #[schema(example = "main")]
    name: String,
    /// How far it is open: `edit`, `rw`, `ro`, `ar`.
    #[schema(example = "edit")]
    mode: &'static str,
    /// Whether it closes.
    draining: bool,
}

/// A healthy answer.
#[derive(Serialize, ToSchema)]
#[schema(as = Health)]
pub struct HealthBody {
    /// `ok`.
    #[schema(example = "ok")]
    status: &'static str,
    /// What works less well than it should: `rate_limiter` counts on this node alone, `store_circuit` lets few calls
    /// through, `scanner` does not answer, so that files wait. Left out when there is nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    degraded: Vec<&'static str>,
    /// How far the stores are open. Left out where that is not asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    stores: Vec<StoreHealthBody>,
}

/// What runs here.
#[derive(Serialize, ToSchema)]
#[schema(as = ServiceInfo)]
pub struct InfoBody {
    /// `cloakroom`.
    name: &'static str,
    /// The program's version.
    version: String,
    /// Where the API begins.
    api: &'static str,
    /// Where its description is.
    openapi: &'static str,
    /// Where its reference is; `null` where there is none.
    docs: Option<&'static str>,
}

/// What runs here, and where its parts are.
#[utoipa::path(
    get,
    path = "/",
    operation_id = "get_info",
    tag = "operations",
    security(()),
    responses((status = OK, description = "Name, version and addresses.", body = InfoBody)),
)]
pub async fn get_info(State(state): State<HttpState>) -> Json<InfoBody> {
    Json(InfoBody {
        name: "cloakroom",
        version: state.settings.version.clone(),
        api: "/api/v1",
        openapi: "/openapi.json",
        docs: state.settings.docs.then_some("/docs"),
    })
}

/// The process runs.
#[utoipa::path(
    get,
    path = "/health/live",
    operation_id = "get_liveness",
    tag = "operations",
    security(()),
    responses((status = OK, description = "The process runs.", body = HealthBody)),
)]
pub async fn get_liveness() -> Json<HealthBody> {
    Json(HealthBody {
        status: "ok",
        degraded: Vec::new(),
        stores: Vec::new(),
    })
}

/// The database and the object store answer. Asked at most every two seconds, however often this is called.
#[utoipa::path(
    get,
    path = "/health/ready",
    operation_id = "get_readiness",
    tag = "operations",
    security(()),
    responses((status = OK, description = "Everything answers.", body = HealthBody)),
)]
pub async fn get_readiness(State(state): State<HttpState>) -> Result<Json<HealthBody>> {
    if state.draining.is_cancelled() {
        return Err(Problem::new(
            ErrorCode::Unavailable,
            "The server is stopping; ask another one.",
        ));
    }
    let probes = probes(&state).await;
    let failing: Vec<&str> = probes
        .iter()
        .filter(|probe| probe.is_vital && probe.error.is_some())
        .map(|probe| probe.name)
        .collect();
    if failing.is_empty() {
        return Ok(Json(HealthBody {
            status: "ok",
            degraded: degraded(&state, &probes),
            stores: stores(&state),
        }));
    }
    Err(Problem::new(
        ErrorCode::Unavailable,
        format!("No healthy answer from: {}.", failing.join(", ")),
    )
    .with("failing", failing))
}

/// What the dependencies answered, at most two seconds ago. What is wrong is said in the log.
pub(crate) async fn probes(state: &HttpState) -> Arc<[Probe]> {
    let ask = async || {
        Ok::<_, Infallible>(Arc::from(
            state
                .app
                .probe(&|limit| Box::pin(tokio::time::sleep(limit)))
                .await,
        ))
    };
    let Ok(probes) = state.probes.get(state.app.now(), ask).await;
    for probe in probes.iter() {
        if let Some(error) = &probe.error {
            // The text may name hosts and paths: for the log, not for whoever asks.
            tracing::warn!(
                event = "dependency_unhealthy",
                dependency = probe.name,
                error,
                "a dependency does not answer"
            );
            state.app.alert_unavailable(probe.name, error);
        }
    }
    probes
}

fn stores(state: &HttpState) -> Vec<StoreHealthBody> {
    let registry = &state.app.stores;
    let states = registry
        .definitions()
        .filter_map(|store| registry.state(&store.name));
    states
        .map(|state| StoreHealthBody {
            name: state.name,
            mode: state.mode.as_str(),
            draining: state.draining_until.is_some(),
        })
        .collect()
}

fn degraded(state: &HttpState, probes: &[Probe]) -> Vec<&'static str> {
    let limiter = state.limiter.degraded().map(|_| "rate_limiter");
    let circuit = (state.app.objects.circuit() != Circuit::Closed).then_some("store_circuit");
    let silent = probes
        .iter()
        .filter(|probe| !probe.is_vital && probe.error.is_some())
        .map(|probe| probe.name);
    limiter.into_iter().chain(circuit).chain(silent).collect()
}
