//! Ports that belong to a test: for programs that have to be told where to listen, and for where nobody shall be.

use std::{fmt, net::SocketAddr};

use tokio::net::TcpSocket;

/// A port of this machine that nobody takes as a free one while this lives: a socket is bound to it, and listens to nobody.
/// A program that is told to listen there can, since both allow their address to be used again (`SO_REUSEADDR`, as Rust's
/// listeners, nginx and Prometheus do). Until then connections are refused.
pub struct ReservedPort {
    address: SocketAddr,
    _socket: TcpSocket,
}

impl ReservedPort {
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Self { address: socket.local_addr().unwrap(), _socket: socket }
    }

    pub fn number(&self) -> u16 {
        self.address.port()
    }

    pub fn url(&self) -> String {
        format!("http://{self}")
    }
}

/// As `127.0.0.1:12345`.
impl fmt::Display for ReservedPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(formatter)
    }
}

#[test]
fn a_reserved_port_is_no_ones_and_can_be_listened_on() {
    let reserved = ReservedPort::new();
    assert!(std::net::TcpStream::connect(reserved.address).is_err(), "somebody listens");
    // The next free ports are others.
    let others: Vec<_> = (0..200).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    assert!(others.iter().all(|other| other.local_addr().unwrap() != reserved.address));
    let listener = std::net::TcpListener::bind(reserved.address).unwrap();
    std::net::TcpStream::connect(reserved.address).unwrap();
    drop(listener);
}
