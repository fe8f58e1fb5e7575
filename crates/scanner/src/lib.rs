//! The virus scanner: clamd over `INSTREAM`, and an account of what its word is worth.
//!
//! clamd fails open: a member of an archive beyond its limits is passed over, and the answer is `OK`. So a verdict needs
//! two things: clamd's answer, and our own account of the file ([`account`]), which unpacks it as it goes by and says
//! whether everything was within clamd's limits.

pub mod account;
mod address;
mod clamd;
mod protocol;

pub use self::address::{Address, AddressError};
pub use self::clamd::{Clamd, ClamdOptions};
