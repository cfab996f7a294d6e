//! Which addresses are public and which are private. Some are neither: those of documentation, multicast and reserved ones.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is of this machine or of a local network. Plain HTTP with the token is allowed there, so what is neither
/// public nor private is not private.
pub(crate) fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_loopback() || address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

/// Whether an address is in the public internet. A listing must not reach into the user's own network, so what is neither
/// public nor private is not public.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let benchmark = a == 198 && (18..20).contains(&b);
    let protocol = a == 192 && b == 0 && c == 0;
    !(a == 0
        || a >= 224
        || address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_documentation()
        || shared
        || benchmark
        || protocol)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(v4) = address.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // 6to4, NAT64 and the deprecated compatible form carry a v4 address that is really used.
        [0x2002, high, low, ..] => embedded(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0, 0, high, low] => embedded(high, low),
        // Global unicast is 2000::/3; everything else is local, multicast or reserved. 2001:db8::/32 is documentation.
        [first, second, ..] => (0x2000..0x4000).contains(&first) && !(first == 0x2001 && second == 0x0db8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_is_both() {
        for (text, public, private) in [
            ("8.8.8.8", true, false),
            ("127.0.0.1", false, true),
            ("10.1.2.3", false, true),
            ("169.254.1.1", false, true),
            ("100.64.0.1", false, false),
            ("192.0.2.1", false, false),
            ("224.0.0.1", false, false),
            ("2606:4700::1", true, false),
            ("::1", false, true),
            ("fd00::1", false, true),
            ("fe80::1", false, true),
            ("::ffff:10.0.0.1", false, true),
            ("::ffff:8.8.8.8", true, false),
            ("2001:db8::1", false, false),
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!((is_public(address), is_private(address)), (public, private), "{text}");
        }
    }
}
