//! Where clamd listens.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A Unix socket or a TCP port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `LocalSocket`: the path, absolute.
    Unix(PathBuf),
    /// `TCPAddr` and `TCPSocket`: `host:port`; an address of IPv6 stands in brackets.
    Tcp(String),
}

/// What cannot be an address of clamd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be host:port, or the absolute path of a Unix socket")]
pub struct AddressError;

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        if let Some(path) = text
            .strip_prefix("unix:")
            .or(text.starts_with('/').then_some(text))
        {
            // `unix:///run/x` is `unix:/run/x` to everybody who writes it.
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.starts_with('/') {
                Ok(Self::Unix(path.into()))
            } else {
                Err(AddressError)
            };
        }
        let text = text.strip_prefix("tcp://").unwrap_or(text);
        let (host, port) = text.rsplit_once(':').ok_or(AddressError)?;
        let plain = !host.is_empty()
            && host
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"/@?#".contains(&byte))
            && (!host.contains(':') || host.starts_with('[') && host.ends_with(']'));
        match port.parse::<u16>() {
            Ok(1..) if plain => Ok(Self::Tcp(format!("{host}:{port}"))),
            _ => Err(AddressError),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(address) => f.write_str(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let table = [
            ("/run/clamav/clamd.ctl", Ok("/run/clamav/clamd.ctl")),
            ("unix:/run/clamd.sock", Ok("/run/clamd.sock")),
            ("unix:///run/clamd.sock", Ok("/run/clamd.sock")),
            ("127.0.0.1:3310", Ok("127.0.0.1:3310")),
            ("tcp://clamav:3310", Ok("clamav:3310")),
            ("[::1]:3310", Ok("[::1]:3310")),
            ("::1:3310", Err(AddressError)),
            ("unix:clamd.sock", Err(AddressError)),
            ("clamav", Err(AddressError)),
            (":3310", Err(AddressError)),
            ("clamav:0", Err(AddressError)),
            ("clamav:99999", Err(AddressError)),
            ("http://clamav:3310", Err(AddressError)),
        ];
        for (text, expected) in table {
            let read = text.parse::<Address>().map(|address| address.to_string());
            assert_eq!(read, expected.map(str::to_owned), "{text}");
        }
    }
}
