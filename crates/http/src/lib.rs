//! The HTTP front: it translates between HTTP and the use cases, and decides nothing itself.
//!
//! [`mod@router`] has every route on one page. A request passes [`observe`] (id, span, log line, metrics, panics,
//! rendering of problems), [`cross_origin`], then the extractors of its handler: [`auth::Caller`] first, so nothing of
//! a request is read before its sender is known; then path, query and body, each strict. Handlers live under [`api`],
//! one endpoint or close group per file. Errors of every layer become answers in [`problem`] alone.

pub mod api;
pub mod auth;
pub mod client_address;
pub mod cross_origin;
pub mod dialects;
pub mod docs_page;
mod error_rate;
pub mod extract;
pub mod health;
pub mod limits;
mod linger;
mod meters;
pub mod metrics;
pub mod observe;
pub mod openapi;
pub mod problem;
pub mod rate_limits;
pub mod request_id;
pub mod router;
pub mod server;
pub mod state;

pub use auth::{AuthSettings, Authenticator, KeySource};
pub use dialects::Dialect;
pub use rate_limits::SignLimits;
pub use router::router;
pub use server::serve;
pub use state::{HttpSettings, HttpState, StorageFacts};
