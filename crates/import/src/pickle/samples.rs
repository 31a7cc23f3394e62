//! Pickles put together by hand, for the tests of this module and of the file formats around it.

/// `BINUNICODE`.
pub fn text(value: &str) -> Vec<u8> {
    [&b"X"[..], &(value.len() as u32).to_le_bytes(), value.as_bytes()].concat()
}

/// `LONG1` of eight bytes.
pub fn int(value: i64) -> Vec<u8> {
    [&[0x8a, 8][..], &value.to_le_bytes()].concat()
}

/// `MARK … TUPLE`.
pub fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(", &items.concat()[..], b"t"].concat()
}

/// `GLOBAL`.
pub fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

/// A whole pickle of protocol 2.
pub fn pickle(body: &[u8]) -> Vec<u8> {
    [&[0x80, 2][..], body, b"."].concat()
}

/// An empty `OrderedDict`.
pub fn ordered_dict() -> Vec<u8> {
    [global("collections", "OrderedDict"), b")R".to_vec()].concat()
}

/// A tensor of the state dict being built: key, storage type, storage key, elements of the storage, offset,
/// shape and strides.
pub type Entry<'a> = (&'a str, &'a str, &'a str, i64, i64, &'a [i64], &'a [i64]);

/// A tensor as PyTorch pickles it.
pub fn tensor(&(_, kind, storage, count, offset, shape, strides): &Entry) -> Vec<u8> {
    let reference = [text("storage"), global("torch", kind), text(storage), text("cpu"), int(count)];
    let storage = [tuple(&reference), b"Q".to_vec()].concat();
    let sizes = |sizes: &[i64]| tuple(&sizes.iter().map(|&size| int(size)).collect::<Vec<_>>());
    let arguments = [storage, int(offset), sizes(shape), sizes(strides), vec![0x89], ordered_dict()];
    [global("torch._utils", "_rebuild_tensor_v2"), tuple(&arguments), b"R".to_vec()].concat()
}

/// A state dict with the attributes that PyTorch gives it.
pub fn state_dict(entries: &[Entry]) -> Vec<u8> {
    let items: Vec<u8> = entries.iter().flat_map(|entry| [text(entry.0), tensor(entry)].concat()).collect();
    let metadata = [b"}".to_vec(), text("_metadata"), ordered_dict(), b"sb".to_vec()].concat();
    pickle(&[ordered_dict(), b"(".to_vec(), items, b"u".to_vec(), metadata].concat())
}
