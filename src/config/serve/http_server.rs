//! `http_server`: the addresses.

use std::net::{IpAddr, Ipv4Addr};

use crate::config::key::Kind;
use crate::config::section::section;
use crate::config::setting::{Port, Setting};
use crate::config::value::Value;
use crate::limits::HTTP_CONNECTIONS_DEFAULT;

section! {
    /// Where the server listens.
    pub struct HttpServer in "http_server." {
        /// Public address; empty means every IPv4 address of the machine.
        address: Host = Host::ANY;
        /// Public port; 0 takes a free one, printed at start.
        port: u16 = 8000, in 0..=65_535;
        /// Address of the internal listener: metrics, health, debug. It has no authentication.
        internal_address: Host = Host(IpAddr::V4(Ipv4Addr::LOCALHOST));
        /// Port of the internal listener; off for none.
        internal_port: Port = Port(Some(9000)), in 0..=65_535;
        /// Connections that are served HTTP at the same time; more are answered with 503.
        connection_limit: u32 = HTTP_CONNECTIONS_DEFAULT, in 1..=65_536;
    }
}

/// The address of an interface. Names are not looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host(pub IpAddr);

impl Host {
    /// Every IPv4 address of the machine.
    pub const ANY: Self = Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
}

impl Setting for Host {
    const KIND: Kind = Kind::Text("an address such as 127.0.0.1 or ::, or empty for 0.0.0.0");

    fn read(value: &Value) -> Result<Self, String> {
        match value.text()? {
            "" => Ok(Self::ANY),
            text => text.parse().map(Self).map_err(|_| "this is not an address".to_owned()),
        }
    }

    fn write(&self) -> Value {
        let text = if *self == Self::ANY { String::new() } else { self.0.to_string() };
        Value::Text(text)
    }
}
