//! Files of both formats, put together by hand.

use std::io::Write;

use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use super::{
    super::{
        floats::half,
        pickle::samples::{Entry, int, pickle, state_dict, text},
    },
    *,
};
use crate::FREE_VALUES;

const MAGIC_PICKLE: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// Key, element count and bytes.
type Stored<'a> = (&'a str, u64, Vec<u8>);

fn old_file(object: &[u8], storages: &[Stored]) -> Vec<u8> {
    let keys: Vec<u8> = storages.iter().flat_map(|(key, ..)| text(key)).collect();
    let mut file = [
        MAGIC_PICKLE,
        &pickle(&int(1001)),
        &pickle(&[b"}".to_vec(), text("little_endian"), b"\x88s".to_vec()].concat()),
        object,
        &pickle(&[b"](", &keys[..], b"e"].concat()),
    ]
    .concat();
    for (_, count, data) in storages {
        file.extend(count.to_le_bytes());
        file.extend(data);
    }
    file
}

/// Names and contents of an archive.
type Entries<'a> = &'a [(&'a str, &'a [u8])];

fn zip_file(entries: Entries, method: CompressionMethod) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, data) in entries {
        archive.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        archive.write_all(data).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

const SIX: [f32; 6] = [0.5, 1.5, 2.5, 3.5, 4.5, 5.5];
const ENTRIES: [Entry; 3] = [
    ("columns", "FloatStorage", "10", 6, 0, &[3, 2], &[1, 3]),
    ("part", "FloatStorage", "10", 6, 4, &[2], &[1]),
    ("bn.num_batches_tracked", "LongStorage", "11", 1, 0, &[], &[]),
];

fn stored() -> [Stored<'static>; 2] {
    [("10", 6, bytes(&SIX)), ("11", 1, vec![9; 8])]
}

fn check(arrays: &BTreeMap<String, Array>) {
    assert_eq!(arrays.len(), 2, "integers are left out");
    assert_eq!(arrays["columns"].shape, [3, 2]);
    assert_eq!(*arrays["columns"].data, [0.5, 3.5, 1.5, 4.5, 2.5, 5.5]);
    assert_eq!(*arrays["part"].data, [4.5, 5.5]);
}

fn refusal(file: &[u8]) -> String {
    read(file).unwrap_err().to_string()
}

#[test]
fn the_old_format_is_read() {
    let file = old_file(&state_dict(&ENTRIES), &stored());
    assert!(is_torch_file(&file));
    check(&read(&file).unwrap());
    for end in 0..file.len() {
        assert!(read(&file[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn the_zip_format_is_read() {
    let object = state_dict(&ENTRIES);
    let [(_, _, floats), _] = stored();
    let entries: [(&str, &[u8]); 3] =
        [("net/data.pkl", &object), ("net/byteorder", b"little"), ("net/data/10", &floats)];
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        let file = zip_file(&entries, method);
        assert!(is_torch_file(&file));
        check(&read(&file).unwrap());
        for end in 0..file.len() {
            assert!(read(&file[..end]).is_err(), "cut at {end}");
        }
    }
}

#[test]
fn every_kind_of_float_is_converted() {
    let storages = [
        ("0", 3, [0x3c00u16, 0xc100, 0x0001].iter().flat_map(|half| half.to_le_bytes()).collect()),
        ("1", 2, [0x3f80u16, 0xc020].iter().flat_map(|bits| bits.to_le_bytes()).collect()),
        ("2", 1, 0.1f64.to_le_bytes().to_vec()),
    ];
    let entries: [Entry; 3] = [
        ("half", "HalfStorage", "0", 3, 0, &[3], &[1]),
        ("bfloat16", "BFloat16Storage", "1", 2, 0, &[2], &[1]),
        ("double", "DoubleStorage", "2", 1, 0, &[], &[]),
    ];
    let arrays = read(&old_file(&state_dict(&entries), &storages)).unwrap();
    assert_eq!(*arrays["half"].data, [1.0, -2.5, 2f32.powi(-24)]);
    assert_eq!(*arrays["bfloat16"].data, [1.0, -2.5]);
    assert_eq!(*arrays["double"].data, [0.1]);
    assert_eq!([half(0x7bff), half(0xfc00), half(0x8000)], [65504.0, f32::NEG_INFINITY, -0.0]);
    assert!(half(0x7e00).is_nan());
}

#[test]
fn tensors_that_leave_their_storage_are_named() {
    for (offset, shape, strides) in [
        (0, &[7][..], &[1][..]),
        (1, &[6], &[1]),
        (0, &[2, 2], &[5, 1]),
        (0, &[7], &[0]),
        (i64::MAX, &[2], &[1]),
        (0, &[2], &[i64::MAX]),
        (0, &[i64::MAX, i64::MAX], &[0, 0]),
        (0, &[1 << 27, 2], &[0, 0]),
        (0, &[2], &[1, 1]),
    ] {
        let object = state_dict(&[("w", "FloatStorage", "10", 6, offset, shape, strides)]);
        let error = refusal(&old_file(&object, &stored()[..1]));
        assert!(error.starts_with("weight \"w\": "), "{error}");
    }
}

#[test]
fn old_files_that_contradict_themselves_are_refused() {
    let object = state_dict(&ENTRIES);
    let claims = |count: i64| state_dict(&[("w", "FloatStorage", "10", count, 0, &[1], &[1])]);
    let whole = old_file(&object, &stored());
    let wrong_count: [Stored; 1] = [("10", 7, bytes(&SIX))];
    for (file, expected) in [
        (pickle(&int(1)), "the magic number is missing"),
        ([MAGIC_PICKLE, &pickle(&int(1002))].concat(), "its protocol is not 1001"),
        ([MAGIC_PICKLE, &pickle(&int(1001)), &pickle(b"}")].concat(), "not little-endian"),
        ([&whole[..], b"x"].concat(), "1 bytes follow its end"),
        (old_file(&object, &stored()[1..]), "its storage is not in the file"),
        (old_file(&object, &[("99", 0, vec![])]), "nothing describes storage \"99\""),
        (old_file(&claims(6), &wrong_count), "storage \"10\" of 6 elements is damaged"),
        (old_file(&claims(i64::MAX), &[("10", i64::MAX as u64, bytes(&SIX))]), "is damaged or cut off"),
    ] {
        let error = refusal(&file);
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let system = [b"cos\nsystem\n".to_vec(), text("true"), vec![0x85, b'R']].concat();
    let error = read(&old_file(&pickle(&system), &[])).unwrap_err();
    assert_eq!(error, ImportError::ForbiddenGlobal("os.system".into()));
}

#[test]
fn archives_that_contradict_themselves_are_refused() {
    let object = state_dict(&ENTRIES);
    let [(_, _, floats), _] = stored();
    let zeros = vec![0; 1 << 20];
    let huge = state_dict(&[("w", "FloatStorage", "10", 1 << 40, 0, &[1], &[1])]);
    let cases: [(Entries, &str); 7] = [
        (&[("net/data/10", &floats)], "exactly one data.pkl"),
        (&[("a/data.pkl", &object), ("b/data.pkl", &object)], "exactly one data.pkl"),
        (&[("net/data.pkl", &object)], "no \"net/data/10\""),
        (&[("net/data.pkl", &object), ("net/byteorder", b"big")], "not little-endian"),
        (&[("net/data.pkl", &object), ("net/data/10", &floats[4..])], "has 20 bytes, needs 24"),
        // A megabyte of zeros packs into a kilobyte; reading stops after the 24 bytes that are needed.
        (&[("net/data.pkl", &object), ("net/data/10", &zeros)], "has more than 24 bytes"),
        (&[("net/data.pkl", &huge), ("net/data/10", &floats)], "too many values"),
    ];
    for (entries, expected) in cases {
        let error = refusal(&zip_file(entries, CompressionMethod::Deflated));
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

/// PyTorch writes the records of large archives into all of its files: 76 bytes between the directory and its end. The first entry of
/// this directory has 76 bytes, too, as one has in a file of 21 letters.
#[test]
fn a_name_of_any_length_is_read() {
    let object = state_dict(&ENTRIES);
    let [(_, _, floats), (_, _, integers)] = stored();
    for root in ["net", "torchvision_googlenet"] {
        let name = |entry: &str| format!("{root}/{entry}");
        let names = [name("data.pkl"), name("data/10"), name("data/11")];
        let entries = [(&*names[0], &*object), (&names[1], &floats), (&names[2], &integers)];
        let file = zip_file(&entries, CompressionMethod::Stored);
        let end = file.len() - 22;
        let [size, start] = [12, 16].map(|at| u32::from_le_bytes(*file[end + at..].first_chunk().unwrap()));
        let mut large = file[..end].to_vec();
        large.extend(b"PK\x06\x06");
        large.extend(44u64.to_le_bytes());
        large.extend([0x1e, 3, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for number in [3, 3, u64::from(size), u64::from(start)] {
            large.extend(number.to_le_bytes());
        }
        large.extend(b"PK\x06\x07\0\0\0\0");
        large.extend((end as u64).to_le_bytes());
        large.extend(1u32.to_le_bytes());
        assert_eq!(large.len(), end + 76);
        large.extend(&file[end..]);
        check(&read(&large).unwrap());
    }
}

/// Short files that stand for much: one storage that many tensors show, and one that packs a thousandfold.
#[test]
fn what_a_file_costs_follows_from_its_length() {
    let zeros = vec![0; 1 << 20];
    let keys: Vec<String> = (0..200).map(|index| format!("w{index}")).collect();
    let entries: Vec<Entry> = keys
        .iter()
        .map(|key| (&key[..], "FloatStorage", "10", 1 << 18, 0, &[1 << 18][..], &[1][..]))
        .collect();
    let shown = [("net/data.pkl", &state_dict(&entries)[..]), ("net/data/10", &zeros[..])];
    let names: Vec<String> = (0..40).map(|index| format!("net/data/{index}")).collect();
    let many: Vec<Entry> = (0..40)
        .map(|index| (&keys[index][..], "FloatStorage", &names[index][9..], 1 << 18, 0, &[1][..], &[1][..]))
        .collect();
    let object = state_dict(&many);
    let packed: Vec<(&str, &[u8])> = [("net/data.pkl", &object[..])]
        .into_iter()
        .chain(names.iter().map(|name| (&name[..], &zeros[..])))
        .collect();
    for entries in [&shown[..], &packed] {
        let file = zip_file(entries, CompressionMethod::Deflated);
        assert!(file.len() < 100_000, "{} bytes", file.len());
        let error = refusal(&file);
        assert!(error.contains("too many values for a file of this length"), "{error}");
    }
    let program = zip_file(&[("net/data.pkl", &vec![b'N'; 2 << 20])], CompressionMethod::Deflated);
    assert!(refusal(&program).contains("more than 1048576 bytes"));
}

#[test]
fn damaged_files_do_no_harm() {
    let object = state_dict(&ENTRIES);
    let [(_, _, floats), _] = stored();
    let entries: [(&str, &[u8]); 2] = [("net/data.pkl", &object), ("net/data/10", &floats)];
    for file in [old_file(&object, &stored()), zip_file(&entries, CompressionMethod::Deflated)] {
        for position in 0..file.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = file.clone();
                damaged[position] ^= flip;
                drop(read(&damaged));
            }
        }
    }
}

/// A network of the largest size that is allowed must not count twice, once as stored and once as decoded.
#[test]
fn whole_storages_are_moved_and_counted_once() {
    let count = FREE_VALUES * 3 / 4;
    let object = |shape: &[i64], strides: &[i64]| {
        state_dict(&[("w", "HalfStorage", "10", count as i64, 0, shape, strides)])
    };
    let zeros = vec![0; 2 * count];
    let read_as = |shape: &[i64], strides: &[i64]| {
        let entries = [("net/data.pkl", &object(shape, strides)[..]), ("net/data/10", &zeros[..])];
        read(&zip_file(&entries, CompressionMethod::Deflated))
    };
    let rows = count as i64 / 4;
    assert_eq!(read_as(&[rows, 4], &[4, 1]).unwrap()["w"].data.len(), count);
    // Turned, it has to be copied.
    let error = read_as(&[4, rows], &[1, 4]).unwrap_err().to_string();
    assert!(error.contains("too many values"), "{error}");
}
