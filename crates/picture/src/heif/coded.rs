//! What coded pictures say of their own size: HEVC (ITU-T H.265) and AV1 (the AV1 bitstream specification).
//!
//! The boxes of a file may say 64×64 where the bits say 16,384×16,384, and the decoders believe the bits. So the few
//! bits that say it are read here first, and so is how many pictures there are: an item is one, and not a film.

use super::boxes::Fault;

/// Frames of one AV1 item: the layers of a picture that shows in several steps.
const MAX_FRAMES: usize = 8;

/// What is coded: the largest size, in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Coded {
    pub(super) width: u32,
    pub(super) height: u32,
}

impl Coded {
    fn or_larger(self, other: Self) -> Self {
        Self { width: self.width.max(other.width), height: self.height.max(other.height) }
    }
}

/// Bits from the highest of each byte; beyond the end there are none.
struct Bits<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    fn bit(&mut self) -> Option<u32> {
        let byte = self.data.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit.into())
    }

    fn flag(&mut self) -> Option<bool> {
        Some(self.bit()? == 1)
    }

    /// At most 32 bits.
    fn bits(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0, |value: u32, _| Some(value << 1 | self.bit()?))
    }

    fn skip(&mut self, count: usize) {
        self.at = self.at.saturating_add(count);
    }

    /// Exp-Golomb, `ue(v)` and `uvlc()`.
    fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
        }
        if zeros > 31 { None } else { Some(((1u64 << zeros) - 1) as u32 + self.bits(zeros)?) }
    }
}

const DAMAGED: Fault = Fault::Damaged("a coded picture is damaged");

/// HEVC: `config` is the property `hvcC`, `data` the item.
pub(super) fn hevc(config: &[u8], data: &[u8]) -> Result<Coded, Fault> {
    let mut size = Coded::default();
    let mut pictures = 0;
    for unit in configured(config).ok_or(DAMAGED)? {
        size = size.or_larger(unit_size(unit, &mut pictures)?);
    }
    let mut rest = data;
    while let Some(head) = rest.first_chunk::<4>() {
        let end = (u32::from_be_bytes(*head) as usize).saturating_add(4);
        let unit = rest.get(4..end).ok_or(DAMAGED)?;
        size = size.or_larger(unit_size(unit, &mut pictures)?);
        rest = &rest[end..];
    }
    match (pictures, size) {
        (1, Coded { width: 1.., height: 1.. }) => Ok(size),
        (2.., _) => Err(Fault::Form("several pictures in one item".into())),
        _ => Err(DAMAGED),
    }
}

/// The units in `hvcC`.
fn configured(config: &[u8]) -> Option<Vec<&[u8]>> {
    // Lengths of four bytes are what libheif takes for granted.
    if config.get(21)? & 3 != 3 {
        return None;
    }
    let mut units = Vec::new();
    let mut at = 23;
    for _ in 0..*config.get(22)? {
        let count = u16::from_be_bytes(*config.get(at + 1..)?.first_chunk()?);
        at += 3;
        for _ in 0..count {
            let length = u16::from_be_bytes(*config.get(at..)?.first_chunk()?) as usize;
            units.push(config.get(at + 2..at + 2 + length)?);
            at += 2 + length;
        }
    }
    Some(units)
}

/// What one unit says of the size, and whether a picture begins with it.
fn unit_size(unit: &[u8], pictures: &mut usize) -> Result<Coded, Fault> {
    let Some([first, second]) = unit.first_chunk() else { return Ok(Coded::default()) };
    let (kind, layer) = (first >> 1 & 0x3f, (first & 1) << 5 | second >> 3);
    match kind {
        // Slices: the first of a picture says so. Pictures of further layers are not decoded.
        0..=31 if layer == 0 => *pictures += usize::from(unit.get(2).is_some_and(|byte| byte >> 7 == 1)),
        33 if layer == 0 => return parameters(unit).ok_or(DAMAGED),
        _ => {}
    }
    Ok(Coded::default())
}

/// The size in a sequence parameter set (H.265, 7.3.2.2).
fn parameters(unit: &[u8]) -> Option<Coded> {
    let mut plain = Vec::with_capacity(unit.len().min(4096));
    for (index, &byte) in unit.iter().enumerate().take(4096).skip(2) {
        // A 3 after two zeros only keeps start codes out.
        if !(byte == 3 && index >= 4 && unit[index - 2..index] == [0, 0]) {
            plain.push(byte);
        }
    }
    let mut bits = Bits::new(&plain);
    bits.skip(4);
    let layers = bits.bits(3)?;
    bits.skip(1);
    // profile_tier_level
    bits.skip(88 + 8);
    let present: Vec<(bool, bool)> =
        (0..layers).map(|_| Some((bits.flag()?, bits.flag()?))).collect::<Option<_>>()?;
    if layers > 0 {
        bits.skip(2 * (8 - layers as usize));
    }
    for (profile, level) in present {
        bits.skip(if profile { 88 } else { 0 } + if level { 8 } else { 0 });
    }
    bits.golomb()?;
    if bits.golomb()? == 3 {
        bits.skip(1);
    }
    Some(Coded { width: bits.golomb()?, height: bits.golomb()? })
}

/// AV1: `config` is the property `av1C`, `data` the item.
pub(super) fn av1(config: &[u8], data: &[u8]) -> Result<Coded, Fault> {
    let mut size = Coded::default();
    let mut sequence = None;
    let mut frames = 0;
    for mut rest in [config.get(4..).unwrap_or_default(), data] {
        while !rest.is_empty() {
            let (kind, inside, behind) = unit(rest).ok_or(DAMAGED)?;
            rest = behind;
            match kind {
                1 => {
                    let read = Sequence::read(inside).ok_or(DAMAGED)?;
                    size = size.or_larger(read.size);
                    sequence = Some(read);
                }
                3 | 6 => {
                    frames += 1;
                    let sequence = sequence.as_ref().ok_or(DAMAGED)?;
                    if sequence.frame_has_own_size(inside).ok_or(DAMAGED)? {
                        return Err(Fault::Form("frames of several sizes".into()));
                    }
                }
                _ => {}
            }
        }
    }
    match frames {
        0 => Err(DAMAGED),
        1..=MAX_FRAMES => Ok(size),
        _ => Err(Fault::Form("several pictures in one item".into())),
    }
}

/// The first unit (OBU): its kind, what is in it, and what is behind it.
fn unit(data: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let head = *data.first()?;
    let mut at = 1 + usize::from(head >> 2 & 1);
    let mut length = data.len().checked_sub(at)?;
    if head >> 1 & 1 == 1 {
        length = 0;
        for index in 0..8 {
            let byte = *data.get(at)?;
            at += 1;
            length |= usize::from(byte & 0x7f) << (7 * index);
            if byte >> 7 == 0 {
                break;
            }
        }
    }
    let end = at.checked_add(length)?;
    Some((head >> 3 & 15, data.get(at..end)?, &data[end..]))
}

/// What the sequence header says (AV1, 5.5).
struct Sequence {
    size: Coded,
    /// Frames are still pictures with a short header, all of the sequence's size.
    reduced: bool,
    /// Bits of a frame's time, where frames have one.
    time: Option<u32>,
    /// Bits of a frame's number, where frames have one.
    number: u32,
    /// Whether frames choose for themselves (2), or what holds for all (0 or 1).
    screen_content: u32,
    integer_motion: u32,
}

impl Sequence {
    fn read(data: &[u8]) -> Option<Self> {
        let mut bits = Bits::new(data);
        bits.skip(4);
        let reduced = bits.flag()?;
        let mut time = None;
        if reduced {
            bits.skip(5);
        } else {
            let mut delay = None;
            if bits.flag()? {
                bits.skip(64);
                let equal = bits.flag()?;
                if equal {
                    bits.golomb()?;
                }
                if bits.flag()? {
                    delay = Some(bits.bits(5)? as usize + 1);
                    bits.skip(32 + 5);
                    let width = bits.bits(5)? + 1;
                    time = (!equal).then_some(width);
                }
            }
            let display_delay = bits.flag()?;
            for _ in 0..=bits.bits(5)? {
                bits.skip(12);
                if bits.bits(5)? > 7 {
                    bits.skip(1);
                }
                if let Some(delay) = delay
                    && bits.flag()?
                {
                    bits.skip(2 * delay + 1);
                }
                if display_delay && bits.flag()? {
                    bits.skip(4);
                }
            }
        }
        let (wide, high) = (bits.bits(4)? + 1, bits.bits(4)? + 1);
        let size = Coded { width: bits.bits(wide)? + 1, height: bits.bits(high)? + 1 };
        let mut sequence = Self { size, reduced, time, number: 0, screen_content: 2, integer_motion: 2 };
        if reduced {
            return Some(sequence);
        }
        if bits.flag()? {
            let difference = bits.bits(4)? + 2;
            sequence.number = difference + bits.bits(3)? + 1;
        }
        bits.skip(3 + 4);
        if bits.flag()? {
            bits.skip(2);
        }
        if !bits.flag()? {
            sequence.screen_content = bits.bit()?;
        }
        if sequence.screen_content > 0 && !bits.flag()? {
            sequence.integer_motion = bits.bit()?;
        }
        Some(sequence)
    }

    /// Whether a frame overrides the sequence's size (AV1, 5.9.2).
    fn frame_has_own_size(&self, frame: &[u8]) -> Option<bool> {
        let mut bits = Bits::new(frame);
        // A frame that was decoded before is shown again.
        if self.reduced || bits.flag()? {
            return Some(false);
        }
        let kind = bits.bits(2)?;
        let shown = bits.flag()?;
        if shown {
            bits.skip(self.time.unwrap_or(0) as usize);
        } else {
            bits.skip(1);
        }
        // Switch frames always have a size of their own.
        if kind == 3 {
            return Some(true);
        }
        if !(kind == 0 && shown) {
            bits.skip(1);
        }
        bits.skip(1);
        let screen_content = if self.screen_content == 2 { bits.bit()? } else { self.screen_content };
        if screen_content == 1 && self.integer_motion == 2 {
            bits.skip(1);
        }
        bits.skip(self.number as usize);
        bits.flag()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A unit (OBU) without a length, of values and how many bits each has.
    fn written(kind: u8, values: &[(u32, u32)]) -> Vec<u8> {
        let mut bits: Vec<u8> = Vec::new();
        for &(value, count) in values {
            bits.extend((0..count).rev().map(|at| (value >> at & 1) as u8));
        }
        bits.resize(bits.len().next_multiple_of(8), 0);
        let bytes = bits.chunks(8).map(|byte| byte.iter().fold(0, |byte, bit| byte << 1 | bit));
        let bytes: Vec<u8> = bytes.collect();
        [&[kind << 3 | 2, bytes.len() as u8][..], &bytes].concat()
    }

    /// 640×480, with all that may stand before the size.
    fn sequence() -> Vec<u8> {
        let timing = [(1, 1), (1, 32), (25, 32), (0, 1)];
        let model = [(1, 1), (9, 5), (1, 32), (9, 5), (7, 5)];
        let points =
            [(1, 1), (0, 5), (0, 12), (9, 5), (1, 1), (1, 1), (5, 10), (5, 10), (0, 1), (1, 1), (3, 4)];
        let size = [(9, 4), (8, 4), (639, 10), (479, 9)];
        let tools = [(1, 1), (2, 4), (1, 3), (0, 3), (0, 4), (1, 1), (0, 2), (1, 1), (1, 1), (0, 8)];
        written(1, &[&[(0, 3), (0, 1), (0, 1)][..], &timing, &model, &points, &size, &tools].concat())
    }

    /// A key frame that shows, and whether it has a size of its own.
    fn frame(own_size: u32) -> Vec<u8> {
        // Shown, time of 8 bits, no screen content, number of 6 bits.
        written(6, &[(0, 1), (0, 2), (1, 1), (77, 8), (0, 1), (0, 1), (0, 6), (own_size, 1), (0, 16)])
    }

    #[test]
    fn frames_of_av1_are_of_the_size_that_their_sequence_says() {
        let size = Coded { width: 640, height: 480 };
        let file = |frames: &[u32]| frames.iter().fold(sequence(), |file, &own| [file, frame(own)].concat());
        assert_eq!(av1(&[0; 4], &file(&[0])), Ok(size));
        assert_eq!(av1(&[&[0; 4][..], &sequence()].concat(), &frame(0)), Ok(size));
        assert!(matches!(av1(&[0; 4], &file(&[0, 1])), Err(Fault::Form(form)) if form.contains("sizes")));
        assert!(matches!(av1(&[0; 4], &file(&[0; 9])), Err(Fault::Form(form)) if form.contains("several")));
        assert_eq!(av1(&[0; 4], &frame(0)), Err(DAMAGED), "a frame needs a sequence");
        // Cut off anywhere, it is damaged, and nothing panics.
        let whole = file(&[0]);
        for length in 0..whole.len() {
            assert_eq!(av1(&[], &whole[..length]), Err(DAMAGED), "{length}");
        }
    }
}
