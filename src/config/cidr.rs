//! Networks of addresses: `10.0.0.0/8`, `2001:db8::/32`, or one address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::setting::Item;

/// A network: an address, of which the first bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// IPv4 addresses in their mapped form, so that both families are one comparison.
    network: u128,
    /// Bits that count, of 128.
    bits: u8,
}

/// A text that is not a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CidrError {
    /// The part in front of the slash is not an address.
    Address,
    /// The number behind the slash is not one, or longer than the address.
    Bits,
    /// Bits are set behind those that count.
    HostBits,
}

impl fmt::Display for CidrError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Address => "not an address, nor a network such as 10.0.0.0/8",
            Self::Bits => "the number of bits is at most 32 for IPv4 and 128 for IPv6",
            Self::HostBits => "there are bits of a host behind the bits of the network",
        })
    }
}

impl std::error::Error for CidrError {}

impl Cidr {
    /// Whether an address is in the network. An IPv4 address in its mapped form (`::ffff:a.b.c.d`,
    /// as a socket for both families reports it) is the same as without.
    pub fn contains(&self, address: IpAddr) -> bool {
        mask(mapped(address), self.bits) == self.network
    }
}

/// The mapped form of any address (RFC 4291 §2.5.5.2).
fn mapped(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn mask(address: u128, bits: u8) -> u128 {
    // Shifting by all bits is not defined, and leaves nothing.
    address & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)
}

/// Bits in front of a mapped IPv4 address.
const MAPPED_BITS: u8 = 96;

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| CidrError::Address)?;
        let (bits_max, offset) = if address.is_ipv4() { (32, MAPPED_BITS) } else { (128, 0) };
        let bits: u8 = match bits {
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().map_err(|_| CidrError::Bits)?
            }
            Some(_) => return Err(CidrError::Bits),
            None => bits_max,
        };
        if bits > bits_max {
            return Err(CidrError::Bits);
        }
        let (network, bits) = (mapped(address), bits + offset);
        if mask(network, bits) != network {
            return Err(CidrError::HostBits);
        }
        Ok(Self { network, bits })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv6Addr::from_bits(self.network);
        match address.to_ipv4_mapped() {
            Some(address) if self.bits >= MAPPED_BITS => fmt_v4(out, address, self.bits),
            _ => write!(out, "{address}/{}", self.bits),
        }
    }
}

fn fmt_v4(out: &mut fmt::Formatter<'_>, address: Ipv4Addr, bits: u8) -> fmt::Result {
    write!(out, "{address}/{}", bits - MAPPED_BITS)
}

impl Item for Cidr {
    const WHAT: &str = "networks (10.0.0.0/8, 2001:db8::/32) or addresses";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: CidrError| error.to_string())
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_other() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "::10.1.2.3", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8:ffff::", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("::1", "::1", true),
            ("::1", "127.0.0.1", false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(cidr(network).contains(address), expected, "{address} in {network}");
        }
    }

    #[test]
    fn what_could_be_misread_is_refused() {
        for (text, error) in [
            ("", CidrError::Address),
            ("10.0.0", CidrError::Address),
            ("10.0.0.0.0/8", CidrError::Address),
            ("010.0.0.1", CidrError::Address),
            ("example.com", CidrError::Address),
            ("10.0.0.0/", CidrError::Bits),
            ("10.0.0.0/33", CidrError::Bits),
            ("10.0.0.0/+8", CidrError::Bits),
            ("::/129", CidrError::Bits),
            ("10.0.0.1/8", CidrError::HostBits),
            ("2001:db8::1/32", CidrError::HostBits),
        ] {
            assert_eq!(text.parse::<Cidr>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_written_network_reads_back(address: u128, bits in 0..=128_u8) {
            let network = Cidr { network: mask(address, bits), bits };
            prop_assert_eq!(network.to_string().parse(), Ok(network));
        }

        #[test]
        fn a_written_ipv4_network_reads_back(address: u32, bits in 0..=32_u8) {
            let address = mapped(Ipv4Addr::from_bits(address).into());
            let network = Cidr { network: mask(address, 96 + bits), bits: 96 + bits };
            prop_assert_eq!(network.to_string().parse(), Ok(network));
        }
    }
}
