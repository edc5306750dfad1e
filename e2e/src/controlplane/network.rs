//! Addresses: every control plane owns one /16 of the loopback network, so that several run side by side.
//!
//! All of 127.0.0.0/8 is this machine (on Linux). The lower half of the /16 belongs to the pods, so a program that listens on a pod's address *is* that
//! pod's server; the control plane's own processes listen on the last /24.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};

/// A /16 of the loopback network, ours for as long as this value lives.
#[derive(Debug)]
pub struct Network {
    octet: u8,
    _claim: File,
}

impl Network {
    /// Claims the first /16 from 127.64 to 127.250 that no other process on this machine has claimed.
    pub fn claim() -> Result<Self> {
        let folder = std::env::temp_dir().join("agentpool-e2e");
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        for octet in 64..=250 {
            let path = folder.join(format!("127.{octet}.lock"));
            // A file of another user is that user's network.
            let Ok(file) = OpenOptions::new().create(true).append(true).open(&path) else {
                continue;
            };
            match file.try_lock() {
                Ok(()) => {
                    return Ok(Self {
                        octet,
                        _claim: file,
                    });
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("lock {}", path.display()));
                }
            }
        }
        bail!(
            "all networks from 127.64.0.0/16 to 127.250.0.0/16 are in use by other control planes on this machine"
        )
    }

    /// Where the control plane's own processes listen.
    pub fn control_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, self.octet, 255, 1)
    }

    /// The pods' addresses, as KWOK wants them: the first address and the prefix.
    pub fn pod_cidr(&self) -> String {
        format!("127.{}.0.1/17", self.octet)
    }

    /// Whether an address is one that pods of this control plane get.
    pub fn is_pod_address(&self, address: Ipv4Addr) -> bool {
        let [first, second, third, _] = address.octets();
        first == 127 && second == self.octet && third < 128
    }

    /// A port that is free on the control address.
    pub fn free_port(&self) -> Result<u16> {
        free_port(self.control_address())
    }
}

/// Ports below those that Linux gives to outgoing connections and to who asks for any: between the choice of one and its use nobody else gets it.
const PORTS: RangeInclusive<u16> = 10_000..=32_000;

/// A port that nothing listens on at `address` at the moment, and that no other call in this process gave.
pub fn free_port(address: Ipv4Addr) -> Result<u16> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let all = u32::from(PORTS.end() - PORTS.start()) + 1;
    // Processes beside each other begin far from each other.
    let begin = std::process::id().wrapping_mul(40_503);
    let mut refusal = None;
    for _ in 0..all {
        let at = begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % all;
        let port = PORTS.start() + u16::try_from(at)?;
        match TcpListener::bind(SocketAddr::new(IpAddr::V4(address), port)) {
            Ok(_) => return Ok(port),
            Err(error) if error.kind() == ErrorKind::AddrInUse => refusal = Some(error),
            Err(error) => {
                return Err(error).with_context(|| format!("listen on {address}: the bench needs Linux, where all of 127.0.0.0/8 is this machine"));
            }
        }
    }
    Err(refusal.unwrap_or_else(|| ErrorKind::AddrInUse.into()))
        .with_context(|| format!("no port of {PORTS:?} is free on {address}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_port_is_given_twice_nor_is_it_one_that_linux_gives_to_others() {
        let ports: BTreeSet<u16> = (0..200)
            .map(|_| free_port(Ipv4Addr::LOCALHOST).unwrap())
            .collect();
        assert_eq!(ports.len(), 200);
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
        let lowest: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
        assert!(ports.iter().all(|port| *port < lowest), "{ports:?} {range}");
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_not_given() {
        let before = free_port(Ipv4Addr::LOCALHOST).unwrap();
        // Tests beside this one take ports, too: some of the next are taken in any case.
        let taken: Vec<u16> = (before + 10..before + 20).collect();
        let listen = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port));
        let _listeners: Vec<_> = taken.iter().map(listen).collect();
        let given: Vec<u16> = (0..30)
            .map(|_| free_port(Ipv4Addr::LOCALHOST).unwrap())
            .collect();
        assert!(given.iter().all(|port| !taken.contains(port)), "{given:?}");
    }

    #[test]
    fn two_control_planes_never_share_a_network() {
        let (one, two) = (Network::claim().unwrap(), Network::claim().unwrap());
        assert_ne!(one.octet, two.octet);
        assert!(!one.is_pod_address(one.control_address()));
        assert!(!one.is_pod_address(Ipv4Addr::new(127, two.octet, 0, 2)));
        assert!(one.is_pod_address(Ipv4Addr::new(127, one.octet, 0, 2)));
    }
}
