//! A field `[hi:lo]` of a record, numbered as the specification prints it.
//!
//! Records are arrays of 64-bit words in CPU order; bit 64 is bit 0 of the second word. A field never straddles
//! two words: no structure of the architecture needs it, and [`Field::bits`] refuses it at compile time.

/// A field of a register, command, event record or in-memory structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Field {
    lo: u16,
    width: u16,
}

impl Field {
    /// Bits `[hi:lo]`, numbered across the whole record.
    ///
    /// Used in constants, where a field that straddles two words does not compile.
    #[must_use]
    pub const fn bits(hi: u16, lo: u16) -> Self {
        assert!(hi >= lo && hi / 64 == lo / 64, "a field lies within one 64-bit word, high bit first");
        Self { lo, width: hi - lo + 1 }
    }

    /// One bit.
    #[must_use]
    pub const fn bit(n: u16) -> Self {
        Self { lo: n, width: 1 }
    }

    /// Bits `[hi:lo]` of 64-bit word `word`, for structures that the specification prints word by word.
    #[must_use]
    pub const fn word(word: u16, hi: u16, lo: u16) -> Self {
        Self::bits(word * 64 + hi, word * 64 + lo)
    }

    /// The lowest bit's number.
    #[must_use]
    pub const fn lo(self) -> u16 {
        self.lo
    }

    /// The number of bits.
    #[must_use]
    pub const fn width(self) -> u16 {
        self.width
    }

    /// The field's bits, in place within its word.
    #[must_use]
    pub const fn mask(self) -> u64 {
        self.ones() << (self.lo % 64)
    }

    /// The field's value in `words`; zero where the record is shorter.
    #[must_use]
    #[inline]
    pub const fn of(self, words: &[u64]) -> u64 {
        let index = (self.lo / 64) as usize;
        if index < words.len() { self.get(word_at(words, index)) } else { 0 }
    }

    /// The field's value in the one word that holds it.
    #[must_use]
    #[inline]
    pub const fn get(self, word: u64) -> u64 {
        (word >> (self.lo % 64)) & self.ones()
    }

    /// Whether any bit of the field is set in `words`.
    #[must_use]
    #[inline]
    pub const fn is_set(self, words: &[u64]) -> bool {
        self.of(words) != 0
    }

    /// The field's bits left where they are: how address fields are printed (`ADDR[51:12]` stays an address).
    #[must_use]
    #[inline]
    pub const fn in_place(self, words: &[u64]) -> u64 {
        self.of(words) << (self.lo % 64)
    }

    /// `word` with the field replaced by the low bits of `value`.
    #[must_use]
    #[inline]
    pub const fn put(self, word: u64, value: u64) -> u64 {
        word & !self.mask() | (value & self.ones()) << (self.lo % 64)
    }

    /// Replaces the field in `words` by the low bits of `value`.
    #[inline]
    pub fn set(self, words: &mut [u64], value: u64) {
        if let Some(word) = words.get_mut(usize::from(self.lo / 64)) {
            *word = self.put(*word, value);
        }
    }

    const fn ones(self) -> u64 {
        if self.width >= 64 { u64::MAX } else { (1 << self.width) - 1 }
    }
}

/// Whether no two of `fields` share a bit; asserted in constants beside each layout.
#[must_use]
pub const fn disjoint(fields: &[Field]) -> bool {
    let mut i = 0;
    while i < fields.len() {
        let mut j = i + 1;
        while j < fields.len() {
            let (a, b) = (field_at(fields, i), field_at(fields, j));
            if a.lo < b.lo + b.width && b.lo < a.lo + a.width {
                return false;
            }
            j += 1;
        }
        i += 1;
    }
    true
}

#[expect(clippy::indexing_slicing, reason = "`get` is not const; both callers have compared with the length")]
const fn word_at(words: &[u64], index: usize) -> u64 {
    words[index]
}

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated in constants only, where a bad index does not compile"
)]
const fn field_at(fields: &[Field], index: usize) -> Field {
    fields[index]
}

#[cfg(test)]
mod tests {
    use super::{Field, disjoint};

    #[test]
    fn bits_are_numbered_across_words() {
        let words = [0x8000_0000_0000_0001, 0xab00_0000_0000_0ff1];
        assert_eq!(Field::bit(0).of(&words), 1);
        assert_eq!(Field::bit(63).of(&words), 1);
        assert_eq!(Field::bits(127, 120).of(&words), 0xab);
        assert_eq!(Field::bits(75, 68).of(&words), 0xff);
        assert_eq!(Field::word(1, 11, 4).in_place(&words), 0xff0);
        assert_eq!(Field::bits(255, 192).of(&words), 0, "beyond the record");
    }

    #[test]
    fn set_keeps_the_other_bits() {
        let mut words = [u64::MAX, 0];
        Field::bits(15, 8).set(&mut words, 0x1_23);
        Field::word(1, 63, 0).set(&mut words, 7);
        assert_eq!(words, [0xffff_ffff_ffff_23ff, 7]);
    }

    #[test]
    fn overlap_is_noticed() {
        assert!(disjoint(&[Field::bits(7, 0), Field::bits(15, 8), Field::bit(16)]));
        assert!(!disjoint(&[Field::bits(7, 0), Field::bits(15, 7)]));
    }
}
