//! Safetensors files (`.safetensors`): a JSON header with names, types and places, then the values. The crate `safetensors`
//! checks that the places fit the file and do not overlap; so the values are no more than the file.

use safetensors::{Dtype, SafeTensorError, SafeTensors};

use super::{Budget, ImportError, floats, state_dict::Weights, volume};
use reverie_graph::Array;

/// Longest header; that of a network of a thousand weights has 100 kB.
const MAX_HEADER: u64 = 4 << 20;

/// Digits of the longest number in a header: a place in a file. The crate adds such numbers up.
const MAX_DIGITS: usize = 15;

/// What training on several devices puts in front of every key.
const PARALLEL: &str = "module.";

/// Whether a file is one: the length of a JSON header in eight bytes, then the header.
pub fn is_safetensors(file: &[u8]) -> bool {
    let Some((length, rest)) = file.split_first_chunk() else { return false };
    let length = u64::from_le_bytes(*length);
    rest.first() == Some(&b'{')
        && usize::try_from(length).is_ok_and(|length| (2..=rest.len()).contains(&length))
}

/// Reads the floating-point tensors as `f32`, by key. Integer tensors are counters of training steps, and are left out.
///
/// # Errors
/// [`ImportError::Malformed`] for anything but a complete file, [`ImportError::Weight`] for a tensor of a type that no network
/// has.
pub fn read(file: &[u8]) -> Result<Weights, ImportError> {
    let malformed = |problem| ImportError::Malformed { format: "safetensors file", problem };
    let length = file.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
    if length > MAX_HEADER {
        return Err(malformed(format!("its header has {length} bytes, at most {MAX_HEADER} are allowed")));
    }
    let header = file.get(8..).and_then(|rest| rest.get(..usize::try_from(length).ok()?)).unwrap_or_default();
    if has_long_number(header) {
        return Err(malformed(format!("its header has a number of more than {MAX_DIGITS} digits")));
    }
    let container = SafeTensors::deserialize(file).map_err(|error| malformed(explained(&error)))?;
    let tensors = container.tensors();
    let parallel = tensors.iter().all(|(key, _)| key.starts_with(PARALLEL));
    let mut budget = Budget::of_file(file.len());
    let mut weights = Weights::new();
    for (key, tensor) in &tensors {
        let key = key.strip_prefix(PARALLEL).filter(|_| parallel).unwrap_or(key.as_str());
        let refused = |problem| ImportError::Weight { key: key.to_owned(), problem };
        let decode = match tensor.dtype() {
            Dtype::F32 => floats::of_f32,
            Dtype::F64 => floats::of_f64,
            Dtype::F16 => floats::of_f16,
            Dtype::BF16 => floats::of_bf16,
            Dtype::BOOL | Dtype::U8 | Dtype::I8 | Dtype::I16 | Dtype::U16 => continue,
            Dtype::I32 | Dtype::U32 | Dtype::I64 | Dtype::U64 => continue,
            other => return Err(refused(format!("has values of the type {other:?}, which is not read"))),
        };
        let shape = tensor.shape().to_vec();
        volume(&shape).and_then(|count| budget.spend(count)).map_err(refused)?;
        let array = Array::new(shape, decode(tensor.data()));
        weights.insert(key.to_owned(), array.ok_or_else(|| refused("has another number of values".into()))?);
    }
    Ok(weights)
}

/// Whether JSON has a number of more digits than any place in a file has. Texts do not count.
fn has_long_number(json: &[u8]) -> bool {
    let (mut digits, mut quoted, mut escaped) = (0, false, false);
    json.iter().any(|&byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        digits = if byte.is_ascii_digit() && !quoted { digits + 1 } else { 0 };
        digits > MAX_DIGITS
    })
}

/// The crate's errors in words.
fn explained(error: &SafeTensorError) -> String {
    match error {
        SafeTensorError::HeaderTooSmall
        | SafeTensorError::HeaderTooLarge
        | SafeTensorError::InvalidHeaderLength => "its header is cut off".to_owned(),
        SafeTensorError::InvalidHeader
        | SafeTensorError::InvalidHeaderStart
        | SafeTensorError::InvalidHeaderDeserialization => {
            "its header is not JSON of names, types, shapes and places".to_owned()
        }
        SafeTensorError::InvalidOffset(name) => {
            format!("the place of \"{name}\" does not follow the one before")
        }
        SafeTensorError::TensorInvalidInfo | SafeTensorError::ValidationOverflow => {
            "a tensor's shape does not fit its place".to_owned()
        }
        SafeTensorError::MetadataIncompleteBuffer => "its tensors do not end where the file does".to_owned(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of this header and these bytes.
    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    }

    fn refusal(file: &[u8]) -> String {
        read(file).unwrap_err().to_string()
    }

    #[test]
    fn every_kind_of_float_is_converted() {
        let header = r#"{"__metadata__": {"format": "pt"}, "module.a": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]},
            "module.b": {"dtype": "BF16", "shape": [2], "data_offsets": [8, 12]},
            "module.c": {"dtype": "F16", "shape": [], "data_offsets": [12, 14]},
            "module.d": {"dtype": "F64", "shape": [1], "data_offsets": [14, 22]},
            "module.e": {"dtype": "I64", "shape": [1], "data_offsets": [22, 30]}}"#;
        let data = [
            &1.5f32.to_le_bytes()[..],
            &(-2f32).to_le_bytes(),
            &[0x80, 0x3f, 0x20, 0xc0],
            &[0x00, 0xc1],
            &0.25f64.to_le_bytes(),
            &[1, 0, 0, 0, 0, 0, 0, 0],
        ]
        .concat();
        let file = file(header, &data);
        assert!(is_safetensors(&file));
        let weights = read(&file).unwrap();
        let value = |key: &str| (weights[key].shape.clone(), weights[key].data.to_vec());
        assert_eq!(weights.len(), 4);
        assert_eq!(value("a"), (vec![2, 1], vec![1.5, -2.0]));
        assert_eq!(
            (value("b").1, value("c"), value("d").1),
            (vec![1.0, -2.5], (vec![], vec![-2.5]), vec![0.25])
        );
        for end in 0..file.len() {
            assert!(read(&file[..end]).is_err(), "cut at {end}");
        }
        for position in 0..file.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = file.clone();
                damaged[position] ^= flip;
                drop(read(&damaged));
            }
        }
    }

    #[test]
    fn files_that_contradict_themselves_are_refused() {
        let one = |dtype: &str, shape: &str, offsets: &str| {
            let header =
                format!(r#"{{"w": {{"dtype": "{dtype}", "shape": {shape}, "data_offsets": {offsets}}}}}"#);
            file(&header, &[0; 8])
        };
        assert!(read(&one("F32", "[2]", "[0, 8]")).is_ok());
        for file in [
            one("F32", "[3]", "[0, 8]"),
            one("F32", "[2]", "[0, 12]"),
            one("F32", "[1]", "[0, 4]"),
            one("F32", "[2]", "[8, 0]"),
            one("F32", "[4294967296, 4294967296]", "[0, 8]"),
            one("F99", "[2]", "[0, 8]"),
            one("F32", "[4611686018427387904]", "[0, 18446744073709551608]"),
            file("{\"w\": 3}", &[]),
            file("[]", &[]),
        ] {
            assert!(refusal(&file).starts_with("this is not a complete safetensors file: "));
        }
        let mut long = one("F32", "[2]", "[0, 8]");
        long[..8].copy_from_slice(&(MAX_HEADER + 1).to_le_bytes());
        assert!(refusal(&long).contains("at most 4194304 are allowed"));
    }
}
