//! An image file, as an upload is looked at: the header alone, a trial, the picture, a mask, the recipe.

use std::{
    collections::HashSet,
    panic::{Location, set_hook},
    sync::{LazyLock, Mutex},
};

use reverie_picture::{
    Look, Picture, PictureError, Samples, decode, decode_mask, look, probe, recipe, verify,
};

use super::{assert_short, memory::peak};

/// Small, so that an input takes a millisecond: 512×512 pixels.
const MAX_PIXELS: u64 = 1 << 18;

/// Bytes that reading takes whatever the picture: tables, profiles, copies of the file.
const BESIDES: usize = 24 << 20;

/// Reads a file in every way and compares what comes of it.
pub fn picture(bytes: &[u8]) {
    if let Some(recipe) = recipe::extract(bytes) {
        assert!(recipe.len() <= bytes.len());
    }
    let (header, taken) = peak(|| probe(bytes, MAX_PIXELS));
    assert!(taken <= BESIDES, "the header took {taken} bytes");
    let Ok(header) = header else {
        // Whoever looks closer says the same.
        let refusal = told(header);
        assert_eq!(told(look(bytes, MAX_PIXELS)), refusal);
        assert_eq!(told(verify(bytes, MAX_PIXELS)), refusal);
        assert_eq!(told(decode(bytes, MAX_PIXELS)), refusal);
        return;
    };
    let size = (header.width, header.height);
    let pixels = u64::from(header.width) * u64::from(header.height);
    assert!((1..=MAX_PIXELS).contains(&pixels), "{size:?}");
    let predicted = match look(bytes, MAX_PIXELS).expect("the header was read before") {
        Look::Enough(same) => {
            assert_eq!(same, header);
            None
        }
        Look::Decode { bytes } => Some(bytes as usize),
    };
    let (verified, taken) = peak(|| verify(bytes, MAX_PIXELS));
    let most = predicted.unwrap_or(0) + BESIDES;
    assert!(taken <= most, "a trial took {taken} bytes, predicted are {predicted:?}");
    let decoded = decode(bytes, MAX_PIXELS);
    match &verified {
        Ok(same) => assert_eq!(*same, header),
        Err(_) => assert!(decoded.is_err(), "the trial failed, and the picture is there"),
    }
    if predicted.is_some() {
        assert_eq!(verified.is_ok(), decoded.is_ok(), "the trial says something else than the picture");
    }
    let mask = decode_mask(bytes, MAX_PIXELS);
    let Ok(decoded) = decoded else {
        told(decoded);
        told(mask);
        return;
    };
    check(&decoded, size);
    let mask = mask.expect("what is a picture is a mask too");
    assert_eq!((mask.width, mask.height, mask.values.len() as u64), (size.0, size.1, pixels));
}

/// The picture has the size that its header promised, and all of its samples.
fn check(picture: &Picture, size: (u32, u32)) {
    assert_eq!((picture.width, picture.height), size);
    let pixels = size.0 as usize * size.1 as usize;
    let samples = match &picture.rgb {
        Samples::Eight(samples) => samples.len(),
        Samples::Sixteen(samples) => samples.len(),
    };
    assert_eq!(samples, 3 * pixels);
    assert!(picture.alpha.as_ref().is_none_or(|alpha| alpha.len() == pixels));
}

/// The words of a refusal.
fn told<T>(refused: Result<T, PictureError>) -> String {
    let message = refused.err().expect("it was refused before").to_string();
    assert_short(&message, 1000);
    message
}

/// Tells each place that panics once, and lets the panic go on.
///
/// libFuzzer's way is to end at every panic, but one in a decoder is caught and is a refusal of the file like any other.
/// A panic that nobody catches ends the process all the same.
pub fn tell_new_panics() {
    static KNOWN: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);
    set_hook(Box::new(|panic| {
        let place = panic.location().map(Location::to_string).unwrap_or_default();
        if KNOWN.lock().is_ok_and(|mut known| known.insert(place)) {
            eprintln!("{panic}");
        }
    }));
}
