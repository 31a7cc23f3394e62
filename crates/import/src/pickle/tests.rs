//! Pickles that are read, and every way to be refused.

use super::{samples::*, *};

fn refusal(pickle: &[u8]) -> String {
    read(pickle).unwrap_err().to_string()
}

#[test]
fn a_state_dict_is_read() {
    let entries: [Entry; 2] = [
        ("a.weight", "HalfStorage", "7", 12, 2, &[2, 3], &[1, 2]),
        ("a.steps", "LongStorage", "8", 1, 0, &[], &[]),
    ];
    let bytes = state_dict(&entries);
    let followed = [&bytes[..], b"what follows is not read"].concat();
    let pickle = read(&followed).unwrap();
    assert_eq!(pickle.length, bytes.len());
    assert_eq!(pickle.storages["7"], Storage { dtype: Dtype::Half, count: 12 });
    let tensors = pickle.tensors().unwrap();
    assert_eq!(tensors.len(), 2);
    let expected = Tensor { storage: "7", offset: 2, shape: vec![2, 3], strides: vec![1, 2] };
    assert_eq!(*tensors["a.weight"], expected);
    assert!(tensors["a.steps"].shape.is_empty());
}

#[test]
fn a_state_dict_within_a_checkpoint_is_found() {
    let entry = |key| [text(key), tensor(&(key, "FloatStorage", "0", 6, 0, &[6], &[1]))].concat();
    let dict = |keys: [&'static str; 2]| {
        [ordered_dict(), b"(".to_vec(), keys.map(entry).concat(), b"u".to_vec()].concat()
    };
    let checkpoint = |name: &str, inner: Vec<u8>| {
        let items = [text("epoch"), b"K\x07".to_vec(), text(name), inner].concat();
        pickle(&[b"}(".to_vec(), items, b"u".to_vec()].concat())
    };
    for name in ["state_dict", "model_state_dict", "model"] {
        let bytes = checkpoint(name, dict(["module.a.weight", "module.b"]));
        let pickle = read(&bytes).unwrap();
        assert_eq!(pickle.tensors().unwrap().into_keys().collect::<Vec<_>>(), ["a.weight", "b"]);
    }
    // A part of a network may be called so.
    let bytes = checkpoint("state_dict", dict(["module.a", "b"]));
    let pickle = read(&bytes).unwrap();
    assert_eq!(pickle.tensors().unwrap().into_keys().collect::<Vec<_>>(), ["b", "module.a"]);
    let error = read(&checkpoint("weights", dict(["a", "b"]))).unwrap().tensors().unwrap_err().to_string();
    assert!(error.contains("\"epoch\" is not a tensor"), "{error}");
}

#[test]
fn newer_protocols_and_parameters_are_read() {
    // PROTO 4, FRAME, SHORT_BINUNICODE, STACK_GLOBAL, MEMOIZE.
    let short = |text: &str| [&[0x8c, text.len() as u8][..], text.as_bytes()].concat();
    let entry: Entry = ("w", "FloatStorage", "0", 6, 0, &[6], &[1]);
    let parameter = [
        short("torch._utils"),
        short("_rebuild_parameter"),
        vec![0x93, 0x94],
        tuple(&[tensor(&entry), vec![0x88], ordered_dict()]),
        b"R".to_vec(),
    ]
    .concat();
    let dict = [b"}".to_vec(), short("w"), parameter, b"s".to_vec()].concat();
    let bytes = [&[0x80, 4, 0x95, 1, 2, 3, 4, 5, 6, 7, 8][..], &dict, b"."].concat();
    assert_eq!(read(&bytes).unwrap().tensors().unwrap()["w"].shape, [6]);
}

#[test]
fn integers_of_every_width_are_read() {
    for (body, expected) in [
        (&b"K\xff"[..], 255),
        (b"M\xe9\x03", 1001),
        (b"J\xff\xff\xff\xff", -1),
        (b"\x8a\x00", 0),
        (b"\x8a\x01\x80", -128),
        (b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 0x1950_a86a_20f9_469c_fc6c),
        (b"\x8b\x02\x00\x00\x00\x00\x01", 256),
    ] {
        assert_eq!(read(&pickle(body)).unwrap().int(), Some(expected));
    }
    assert!(refusal(&pickle(&[&[0x8a, 17][..], &[0; 17]].concat())).contains("more than 128 bits"));
}

#[test]
fn names_that_could_run_something_are_refused() {
    let call = |module: &str, name: &str| {
        pickle(&[global(module, name), tuple(&[text("rm -rf /")]), b"R".to_vec()].concat())
    };
    for (module, name) in [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_tensor"),
        ("collections", "defaultdict"),
        ("collections", "OrderedDict.fromkeys"),
    ] {
        let expected = ImportError::ForbiddenGlobal(format!("{module}.{name}"));
        assert_eq!(read(&call(module, name)).unwrap_err(), expected);
        let stacked = [text(module), text(name), vec![0x93]].concat();
        assert_eq!(read(&pickle(&stacked)).unwrap_err(), expected);
    }
    assert!(refusal(&call("os", "system")).contains("refers to os.system"));
}

#[test]
fn malformed_programs_are_refused() {
    let wrong_call = |function: Vec<u8>, arguments: &[Vec<u8>]| {
        pickle(&[function, tuple(arguments), b"R".to_vec()].concat())
    };
    let rebuild = global("torch._utils", "_rebuild_tensor_v2");
    let storage_type = global("torch", "FloatStorage");
    let reference = |items: &[Vec<u8>]| pickle(&[tuple(items), b"Q".to_vec()].concat());
    let reference_of =
        |count: i64| [text("storage"), storage_type.clone(), text("0"), text("cpu"), int(count)];
    let twice = [tuple(&reference_of(1)), b"Q".to_vec(), tuple(&reference_of(2)), b"Q".to_vec()].concat();
    for (bytes, expected) in [
        (pickle(b""), "byte 2: the stack is empty"),
        (pickle(b"N(."), "the stack is empty"),
        (pickle(b"e"), "there is no mark"),
        (pickle(b"NNa"), "appended to what is not a list"),
        (pickle(b"]NNs"), "set in what is not a dict"),
        (pickle(b"}(Nu"), "a key has no value"),
        (pickle(b"h\x07"), "the memo has no such slot"),
        (pickle(b"NNb"), "attributes are given to what has none"),
        (pickle(b"N)R"), "something is called that cannot be"),
        (pickle(b"(N)R"), "something is called that cannot be"),
        (pickle(b"N()R"), "the stack is empty"),
        (pickle(b"i"), "opcode 0x69 has no place"),
        (pickle(b"\x81"), "opcode 0x81 has no place"),
        (pickle(b"U\x01\xff"), "a string is not text"),
        (pickle(b"X\xff\xff\xff\xff"), "4294967295 bytes, at most"),
        (pickle(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffx"), "bytes, at most"),
        (pickle(b"B\xff\xff\xff\xffx"), "ends too early"),
        (pickle(&[b"c", &[b'x'; 9000][..]].concat()), "a name does not end"),
        (vec![0x80, 9, b'N', b'.'], "pickle protocol 9"),
        (wrong_call(storage_type.clone(), &[]), "is called with 0 arguments"),
        (wrong_call(rebuild.clone(), &[int(1)]), "is called with 1 arguments"),
        (wrong_call(rebuild.clone(), &[int(1), int(1), int(1), int(1)]), "a tensor has no storage"),
        (wrong_call(global("collections", "OrderedDict"), &[b"]".to_vec()]), "called with 1 arguments"),
        (wrong_call(rebuild, &vec![int(1); 9]), "a tuple of at most 8"),
        (reference(&[text("module"), int(1), int(1), int(1), int(1)]), "not to a storage"),
        (reference(&[text("storage"), int(1), int(1), int(1), int(1)]), "a storage has no type"),
        (reference(&reference_of(1)[..4]), "too few parts"),
        (reference(&reference_of(-1)), "-1 is not a size"),
        (reference(&[&reference_of(1)[..], &[int(1)]].concat()), "views of storages"),
        (pickle(&twice), "described in two ways"),
        (state_dict(&[("w", "FloatStorage", "0", 1, 0, &[1; 9], &[1; 9])]), "a tensor has 9 dimensions"),
        (state_dict(&[("w", "FloatStorage", "0", 1, 0, &[-1], &[1])]), "-1 is not a size"),
    ] {
        let error = refusal(&bytes);
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn what_is_not_a_state_dict_is_refused() {
    let entry: Entry = ("w", "FloatStorage", "0", 1, 0, &[1], &[1]);
    for (bytes, expected) in [
        (pickle(b"N"), "does not hold a state dict"),
        (pickle(b"}NNs"), "a key of the state dict is not text"),
        (pickle(&[b"}".to_vec(), text("epoch"), b"K\x01s".to_vec()].concat()), "\"epoch\" is not a tensor"),
        (state_dict(&[entry; 2]), "\"w\" is there twice"),
    ] {
        let error = read(&bytes).unwrap().tensors().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn bombs_cost_no_more_than_their_opcodes() {
    // A hundred thousand tuples inside each other, a list that holds itself, and a list of two lists of two
    // lists …, 2^1000 leaves.
    assert!(read(&pickle(&[&b"N"[..], &[0x85; 100_000]].concat())).is_ok());
    assert!(read(&pickle(b"]q\x00h\x00a")).is_ok());
    assert!(read(&pickle(&[&b"]"[..], &b"q\x00]h\x00ah\x00a".repeat(1000)].concat())).is_ok());
    assert!(refusal(&vec![b'N'; 2 << 20]).contains("more than 1048576 steps"));
    assert!(refusal(&[b'('; 2 << 20]).contains("more than 1048576 steps"));
}

#[test]
fn every_truncation_is_an_error() {
    let whole = state_dict(&[("w", "FloatStorage", "0", 6, 0, &[2, 3], &[3, 1])]);
    for end in 0..whole.len() {
        assert!(read(&whole[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn damaged_pickles_do_no_harm() {
    let whole = state_dict(&[("w", "FloatStorage", "0", 6, 0, &[2, 3], &[3, 1])]);
    for position in 0..whole.len() {
        for value in 0..=u8::MAX {
            let mut damaged = whole.clone();
            damaged[position] = value;
            if let Ok(pickle) = read(&damaged) {
                drop(pickle.tensors());
            }
        }
    }
}
