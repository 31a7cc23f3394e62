//! Small files that stand for huge pictures or profiles cost what their picture costs, and not what they claim.
//!
//! The process resets its peak of memory before each file, so that this is the only test in its program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]
#![cfg(target_os = "linux")]

use std::{fs, io::Write, time::Instant};

use flate2::{Compression, write::ZlibEncoder};
use reverie_picture::{self as picture, PictureError};

/// As the server's default.
const MAX_PIXELS: u64 = 16_000_000;

/// Bytes that a small picture may take, whatever its file says.
const MOST: u64 = 8_000_000;

/// Peak of this process's memory in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Memory and seconds that `work` takes at its peak.
fn cost(name: &str, work: impl FnOnce()) -> u64 {
    // Sets the peak to what is in use now.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = peak();
    let started = Instant::now();
    work();
    let grown = peak().saturating_sub(before);
    println!("{name}: {} kB, {:?}", grown / 1000, started.elapsed());
    grown
}

fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let named = [name, data].concat();
    [&(data.len() as u32).to_be_bytes()[..], &named, &crc32fast::hash(&named).to_be_bytes()].concat()
}

fn deflate(zeros: usize, head: &[u8]) -> Vec<u8> {
    let mut packer = ZlibEncoder::new(Vec::new(), Compression::best());
    packer.write_all(head).unwrap();
    let block = vec![0; 1 << 16];
    for _ in 0..zeros / block.len() {
        packer.write_all(&block).unwrap();
    }
    packer.finish().unwrap()
}

/// A picture of 96×64 pixels with a colour profile that unpacks to 500 MB and claims `length` of them.
fn profile_bomb(length: u32) -> Vec<u8> {
    let profile = [b"icc\0\0".to_vec(), deflate(500 << 20, &length.to_be_bytes())].concat();
    let header = [&96u32.to_be_bytes()[..], &64u32.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    let pixels = deflate(1 << 16, &[0; 64 * (96 * 3 + 1)]);
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(b"IHDR", &header),
        chunk(b"iCCP", &profile),
        chunk(b"IDAT", &pixels),
        chunk(b"IEND", b""),
    ]
    .concat()
}

/// A screen of 64×64 with a frame of 121 megapixels, and nothing in it.
fn frame_bomb() -> Vec<u8> {
    let edge = 11_000u16.to_le_bytes();
    let head = b"GIF89a\x40\0\x40\0\x80\0\0\0\0\0\xff\xff\xff\x2c\0\0\0\0".to_vec();
    [head, edge.to_vec(), edge.to_vec(), b"\0\x02\x02\x4c\x01\0\x3b".to_vec()].concat()
}

#[test]
fn bombs_cost_a_few_megabytes() {
    // Once for what decoders allocate for good.
    picture::decode(&fs::read("assets/sample.jpg").unwrap(), MAX_PIXELS).unwrap();
    for length in [500 << 20, 4096] {
        let bomb = profile_bomb(length);
        let grown = cost("profile", || {
            let decoded = picture::decode(&bomb, MAX_PIXELS).unwrap();
            assert_eq!((decoded.width, decoded.height), (96, 64));
        });
        assert!(grown < MOST, "{grown} bytes");
    }
    let bomb = frame_bomb();
    let grown = cost("frame", || {
        let refusal = picture::decode(&bomb, MAX_PIXELS).unwrap_err();
        assert!(matches!(refusal, PictureError::TooLarge { width: 11_000, height: 11_000, .. }), "{refusal}");
    });
    assert!(grown < MOST, "{grown} bytes");
    // What is measured is memory: a picture that needs some is seen to take it.
    let large = image::RgbImage::new(3000, 2000);
    let mut file = std::io::Cursor::new(Vec::new());
    large.write_to(&mut file, image::ImageFormat::Png).unwrap();
    let grown = cost("picture", || drop(picture::decode(file.get_ref(), MAX_PIXELS).unwrap()));
    assert!(grown > 15_000_000, "{grown} bytes");
    #[cfg(feature = "heif")]
    heif_takes_what_is_reserved_for_it();
}

/// What libheif and its decoders allocate is foretold: what is reserved for them is enough, and not much too much.
#[cfg(feature = "heif")]
fn heif_takes_what_is_reserved_for_it() {
    let folder = std::path::Path::new("tests/fixtures/pictures/heif");
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    picture::decode(&read("plain.heic"), MAX_PIXELS).unwrap();
    picture::decode(&read("plain.avif"), MAX_PIXELS).unwrap();
    // The allocator may keep what was freed: from the least to the most, all counted from here.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = peak();
    for name in
        ["12mp.heic", "12mp_one.heic", "12mp.avif", "12mp_alpha.avif", "12mp_deep.heic", "12mp_deep.avif"]
    {
        let file = read(name);
        let Ok(picture::Look::Decode { bytes }) = picture::look(&file, MAX_PIXELS) else { panic!("{name}") };
        let most = cost(name, || {
            picture::verify(&file, MAX_PIXELS).unwrap();
        });
        let grown = peak().saturating_sub(before);
        println!("{name}: {} kB in all, {} kB reserved", grown / 1000, bytes / 1000);
        assert!(most < bytes + MOST, "{name}: {most} bytes, and {bytes} reserved");
        assert!(grown > bytes / 5, "{name}: {grown} bytes, and {bytes} reserved");
    }
}
