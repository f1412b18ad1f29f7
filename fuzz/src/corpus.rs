//! A corpus as one file: each input with its length before it, two bytes, little-endian. A folder of a thousand tiny files is a
//! burden to everybody; this is none, and every version of a target reads it.

/// The longest input that fits.
pub const LONGEST: usize = u16::MAX as usize;

/// All inputs as one file. Those that are too long are left out.
pub fn pack<'a>(inputs: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut packed = Vec::new();
    for input in inputs {
        if let Ok(length) = u16::try_from(input.len()) {
            packed.extend(length.to_le_bytes());
            packed.extend(input);
        }
    }
    packed
}

/// The inputs of a packed corpus.
///
/// # Errors
/// The offset at which the file ends too early.
pub fn unpack(packed: &[u8]) -> Result<Vec<&[u8]>, usize> {
    let mut inputs = Vec::new();
    let mut rest = packed;
    while let Some((length, after)) = rest.split_first_chunk() {
        let offset = packed.len() - rest.len();
        let (input, after) = after.split_at_checked(u16::from_le_bytes(*length).into()).ok_or(offset)?;
        inputs.push(input);
        rest = after;
    }
    if rest.is_empty() { Ok(inputs) } else { Err(packed.len() - rest.len()) }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, pack, unpack};

    #[test]
    fn what_is_packed_can_be_unpacked() {
        let long = vec![7; LONGEST];
        let inputs: [&[u8]; 3] = [b"abc", b"", &long];
        let packed = pack(inputs);
        assert_eq!(&packed[..7], b"\x03\0abc\0\0");
        assert_eq!(unpack(&packed), Ok(inputs.to_vec()));
        assert_eq!(unpack(&packed[..packed.len() - 1]), Err(7), "an input that is cut off");
        assert_eq!(unpack(&packed[..4]), Err(0));
        assert_eq!(unpack(&packed[..6]), Err(5), "half a length");
    }
}
