//! Numbers as readers see them.

/// `0x1_2345_6789`: grouped from the right.
pub(crate) fn hex(value: u64) -> String {
    hex_by(value, 4)
}

/// `0x123456789`.
pub(crate) fn plain_hex(value: u64) -> String {
    hex_by(value, 17)
}

/// Panels hold hundreds of these a step: without the formatter's detours.
fn hex_by(value: u64, size: u32) -> String {
    let digits = value.checked_ilog2().map_or(1, |high| high / 4 + 1);
    let mut text = String::with_capacity(24);
    text.push_str("0x");
    for place in (0..digits).rev() {
        text.push(digit((value >> (4 * place)) as u8));
        if place != 0 && place.is_multiple_of(size) {
            text.push('_');
        }
    }
    text
}

fn digit(value: u8) -> char {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    char::from(DIGITS.get(usize::from(value & 15)).copied().unwrap_or(b'?'))
}

/// `262,144`.
pub(crate) fn grouped(value: u64) -> String {
    group(&value.to_string())
}

/// `4 KiB`, `1 GiB`, `12 bytes`, `1023.9 MiB`.
pub(crate) fn bytes(value: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let unit = (value.max(1).ilog2() / 10).min(6);
    let name = units.get(unit as usize).copied().unwrap_or("bytes");
    let (whole, rest) = (value >> (10 * unit), value & ((1 << (10 * unit)) - 1));
    let hundredths = if unit == 0 { 0 } else { (rest >> (10 * (unit - 1))) * 100 / 1024 };
    if rest == 0 { format!("{whole} {name}") } else { format!("{whole}.{hundredths:02} {name}") }
}

/// Bytes in the order of their addresses.
pub(crate) fn hexadecimal(data: &[u8]) -> String {
    data.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

fn group(digits: &str) -> String {
    let mut text = String::with_capacity(26);
    for (place, digit) in digits.char_indices() {
        if place != 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_from_the_right() {
        for (value, text, plain) in [
            (0, "0x0", "0x0"),
            (0xffff, "0xffff", "0xffff"),
            (0x1_2345, "0x1_2345", "0x12345"),
            (0x40_0000_0000, "0x40_0000_0000", "0x4000000000"),
            (u64::MAX, "0xffff_ffff_ffff_ffff", "0xffffffffffffffff"),
        ] {
            assert_eq!((hex(value).as_str(), plain_hex(value).as_str()), (text, plain));
        }
        assert_eq!([grouped(7), grouped(262_144), grouped(1_000_000)], ["7", "262,144", "1,000,000"]);
    }
}
