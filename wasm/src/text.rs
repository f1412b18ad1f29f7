//! Numbers as readers see them.

/// `0x1_2345_6789`: grouped from the right.
pub(crate) fn hex(value: u64) -> String {
    let digits = format!("{value:x}");
    group(&digits, 4, '_', "0x")
}

/// `262,144`.
pub(crate) fn grouped(value: u64) -> String {
    group(&value.to_string(), 3, ',', "")
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
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |n: u8| char::from(DIGITS.get(usize::from(n)).copied().unwrap_or(b'?'));
    data.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn group(digits: &str, size: usize, mark: char, prefix: &str) -> String {
    let mut text = prefix.to_owned();
    for (place, digit) in digits.char_indices() {
        if place != 0 && (digits.len() - place).is_multiple_of(size) {
            text.push(mark);
        }
        text.push(digit);
    }
    text
}
