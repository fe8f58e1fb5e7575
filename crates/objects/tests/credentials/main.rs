//! Credentials from the services that give them out: small servers with their rules, and moto.

mod issuer;
mod moto;
mod renewal;
