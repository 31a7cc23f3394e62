//! What the tests of the service share: a server in this process, a server in a process of its own, pictures,
//! and a client that knows how to wait.
//!
//! Waiting means looking again until something is so, or until a deadline makes it a failure.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "every test uses a part of this, and tests may fail loudly"
)]

pub mod authority;
#[cfg(unix)]
pub mod balancer;
pub mod catalogue;
pub mod client;
pub mod events;
#[cfg(target_os = "linux")]
pub mod machine;
mod models;
pub mod ports;
pub mod postgres;
pub mod process;
#[cfg(unix)]
pub mod programs;
pub mod receiver;
pub mod server;

use std::{io::Cursor, time::Duration};

pub use models::models_dir;

use tokio::time::{interval, timeout};

/// Looks again until something is so, or a deadline makes it a failure.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        let mut looks = interval(Duration::from_millis(50));
        while !is_so().await {
            looks.tick().await;
        }
    };
    let waited = timeout(client::DEADLINE, waiting).await;
    assert!(waited.is_ok(), "waited in vain: {what}");
}

/// A smooth, colourful picture as a PNG file.
pub fn picture(width: u32, height: u32) -> Vec<u8> {
    let image = image::RgbImage::from_fn(width, height, |x, y| {
        let wave = |phase: f32| {
            let value = (x as f32 / 11.0 + phase).sin() + (y as f32 / 7.0 - phase).cos();
            (value * 60.0 + 128.0) as u8
        };
        image::Rgb([wave(0.0), wave(1.0), wave(2.0)])
    });
    let mut file = Cursor::new(Vec::new());
    image.write_to(&mut file, image::ImageFormat::Png).unwrap();
    file.into_inner()
}

/// A PNG file of a few bytes whose header claims this size.
pub fn header_bomb(width: u32, height: u32) -> Vec<u8> {
    let mut file = picture(1, 1);
    file[16..20].copy_from_slice(&width.to_be_bytes());
    file[20..24].copy_from_slice(&height.to_be_bytes());
    // The header's checksum has to be right, or the file would be refused for that.
    let sum = crc32(&file[12..29]);
    file[29..33].copy_from_slice(&sum.to_be_bytes());
    file
}

/// The checksum of PNG chunks (PNG specification, annex D).
fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0xEDB8_8320 } else { sum >> 1 };
        }
    }
    !sum
}
