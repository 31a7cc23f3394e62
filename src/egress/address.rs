//! Which addresses are public: those that any machine on the internet could reach as well.
//!
//! IPv4 is public but for the networks that IANA's registry of special purposes lists (RFC 6890) and one address of a
//! cloud. IPv6 is public only within 2000::/3, the one block that addresses are given out of, and there but for what
//! embeds IPv4 addresses or is for documents. So mapped addresses (`::ffff:127.0.0.1`), NAT64 and unique local addresses
//! need no entry.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix))
}

const fn v6(first: u16, second: u16, prefix: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0), prefix))
}

/// Networks that are not public, and what they are.
const SPECIAL: [(IpNet, &str); 22] = [
    (v4(0, 0, 0, 0, 8), "this network"),
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(100, 64, 0, 0, 10), "shared by a provider's customers"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    // Azure answers every machine's questions about itself there.
    (v4(168, 63, 129, 16, 32), "a cloud's metadata"),
    (v4(169, 254, 0, 0, 16), "link-local"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 0, 0, 0, 24), "special"),
    (v4(192, 0, 2, 0, 24), "for documents"),
    (v4(192, 88, 99, 0, 24), "6to4"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v4(198, 18, 0, 0, 15), "for benchmarks"),
    (v4(198, 51, 100, 0, 24), "for documents"),
    (v4(203, 0, 113, 0, 24), "for documents"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(240, 0, 0, 0, 4), "reserved"),
    // Teredo, ORCHID and others.
    (v6(0x2001, 0, 23), "special"),
    (v6(0x2001, 0x0db8, 32), "for documents"),
    (v6(0x2002, 0, 16), "6to4"),
    (v6(0x3fff, 0, 20), "for documents"),
    // For messages alone: none of them lies within 2000::/3.
    (v6(0xfc00, 0, 7), "private"),
    (v6(0xfe80, 0, 10), "link-local"),
];

/// The addresses that IPv6 hosts on the internet have.
const GLOBAL: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Why an address is not public; `None` if it is.
pub(super) fn special(address: IpAddr) -> Option<&'static str> {
    if let Some((_, what)) = SPECIAL.iter().find(|(network, _)| network.contains(&address)) {
        return Some(what);
    }
    match address {
        IpAddr::V6(address) if address.is_loopback() => Some("loopback"),
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => Some("an IPv4 address in disguise"),
        IpAddr::V6(address) if !GLOBAL.contains(&address) => Some("special"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::special;

    #[test]
    fn inner_and_special_addresses_are_told_from_public_ones() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::ffff:0:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(special(text.parse().unwrap()).is_some(), "{text} counts as public");
        }
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "168.63.129.17",
            "172.15.255.255",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.255.255",
            "192.169.0.1",
            "198.17.255.255",
            "198.20.0.1",
            "223.255.255.255",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2a00:1450::1",
        ] {
            assert_eq!(special(text.parse().unwrap()), None, "{text}");
        }
    }
}
