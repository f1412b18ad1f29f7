//! Figures as people read them.

/// A count with its thousands apart.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
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
    use super::grouped;

    #[test]
    fn thousands_are_apart() {
        let rows =
            [(0, "0"), (999, "999"), (1000, "1,000"), (262_144, "262,144"), (5_000_000_000, "5,000,000,000")];
        for (count, text) in rows {
            assert_eq!(grouped(count), text);
        }
    }
}
